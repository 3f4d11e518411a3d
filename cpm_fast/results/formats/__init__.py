"""Results in files: one file a form."""
