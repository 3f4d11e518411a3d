"""Code that the spectral ops share: checks, working memory, their registration, and plain sums in their place."""
