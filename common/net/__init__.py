"""Sockets, addresses and keys: everything between a frame of bytes and the network."""
