"""Peers whose messages are taken in: who is admitted, and the delivery state of each session."""
