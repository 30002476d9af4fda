"""Numbers on their way into and out of any algorithm: batches as tensors, devices, divergence."""
