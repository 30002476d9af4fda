"""Evaluated policies: candidates for the best one, their files, and statistics over episodes."""
