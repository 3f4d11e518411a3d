"""Frames out of videos, labels made and corrected in a page, and what to label next."""
