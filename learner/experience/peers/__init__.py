"""Peers that send experience and evaluations: their admission, and the delivery state of each session."""
