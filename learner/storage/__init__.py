"""Files that a run grows: checkpoints, and logs of whole records."""
