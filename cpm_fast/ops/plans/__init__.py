"""Plans of convolutions: which algorithm and which tile, by device."""
