"""Evaluated policies: candidates for the best, their files, and statistics over episodes."""
