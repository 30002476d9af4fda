"""The learner's bound sockets: who may connect, and how much each connection may cost."""
