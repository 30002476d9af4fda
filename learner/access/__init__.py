"""The learner's bound sockets: authentication, and limits on each connection."""
