"""Sockets, addresses and keys: all code between a frame and the network."""
