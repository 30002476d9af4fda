"""Metrics and status of a run."""
