"""Files of a run: checkpoints, and logs that grow by whole records."""
