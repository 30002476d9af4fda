"""Soft Actor-Critic and its back ends."""
