"""Ways to find the subjects of a picture: a finder, the released one, a search, or a detector of the user's."""
