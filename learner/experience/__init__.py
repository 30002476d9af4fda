"""The path of transitions from the actors to the replay: receive, check, journal, sample."""
