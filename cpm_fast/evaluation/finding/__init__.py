"""Scores of finding subjects: of a finder alone, and of whole pictures from end to end."""
