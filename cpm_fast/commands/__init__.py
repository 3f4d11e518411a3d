"""The verbs of cpm-fast: one file per verb."""
