"""The run of a visit: steps in processes of their own, and one file of results."""
