"""Transitions on their way from the actors to the replay: received, checked, journaled, sampled."""
