"""Numerics shared by all algorithms: batches as tensors, devices, divergence."""
