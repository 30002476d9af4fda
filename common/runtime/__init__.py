"""The process and its machine: files, the run directory, signals, timers and random seeds."""
