"""Contestants: cpm_fast, PyTorch, torch.fft and other runtimes."""
