"""Training pictures of a finder: whole pictures, and scenes that are put together from cut-out subjects."""
