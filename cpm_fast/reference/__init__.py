"""The oracle: every operation in plain PyTorch, one file each, importing nothing of ours and never tuned."""
