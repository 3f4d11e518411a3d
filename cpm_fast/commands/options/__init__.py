"""The options of every verb. Nothing here imports the code of the verbs."""
