"""SAC's update on a GPU, several at a time as one CUDA graph."""
