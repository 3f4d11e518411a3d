"""Files written whole, processes of torchrun, interrupts, memory and PyTorch's settings: the lowest level."""
