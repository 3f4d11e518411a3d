"""Training: targets and loss, schemes, checkpoints and the loop."""
