"""SAC's update on a CPU, with its gradients written out and compiled by Numba."""
