"""Importers of other programs' weights, which run nothing that a file holds."""
