"""Plans of convolutions: the algorithm and the tile, by device."""
