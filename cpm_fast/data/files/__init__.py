"""Readers of file kinds, for the formats."""
