"""Studies of accuracy, claims, ideas and compiled kernels."""
