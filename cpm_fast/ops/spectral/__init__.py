"""Code that the spectral ops share: checks, their registration with PyTorch, and plain sums in their place."""
