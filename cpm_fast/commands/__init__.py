"""The verbs of cpm-fast: one file a verb."""
