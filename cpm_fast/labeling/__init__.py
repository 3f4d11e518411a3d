"""The labeling loop: frames from videos, a page to make and correct labels, and suggestions of what to label next."""
