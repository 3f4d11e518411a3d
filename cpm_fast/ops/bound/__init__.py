"""Native code bound to its tensors for the calls of an engine: checked once, and joined to chains."""
