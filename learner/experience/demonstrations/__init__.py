"""Recorded episodes of a Minari dataset as transitions."""
