"""Subjects of a video, followed from frame to frame."""
