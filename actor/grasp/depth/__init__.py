"""Depth images of the grasping task, rendered fast enough to train from."""
