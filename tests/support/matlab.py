"""MATLAB files for tests: struct arrays as MATLAB itself writes them."""

import numpy as np


def structs(*entries: dict) -> np.ndarray:
    """Return a [1, N] struct array with the fields of the first entry; one that an entry lacks is empty."""
    array = np.empty((1, len(entries)), dtype=[(name, object) for name in entries[0]])
    for place, entry in enumerate(entries):
        for name in entries[0]:
            array[0, place][name] = entry.get(name, np.empty((0, 0)))
    return array
