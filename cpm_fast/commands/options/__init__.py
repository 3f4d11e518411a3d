"""The options of every verb; nothing here imports what the verbs do."""
