"""The best assignment of rows to columns, which matches subjects from frame to frame."""

from __future__ import annotations

import numpy as np


def best_pairs(values: np.ndarray, least: float = 0.0) -> list[tuple[int, int]]:
    """Return pairs (row, column), each row and column at most once, with the largest sum of values.

    Pairs whose value is not above `least` are left out, and count nothing (Kuhn 1955; by shortest augmenting paths,
    Jonker and Volgenant 1987).

    Args:
        values: [R, C], finite.
        least: of a pair.

    Raises:
        ValueError: values are not a finite matrix.

    Examples:
        >>> best_pairs(np.array([[0.9, 0.8], [0.8, 0.1]]))
        [(0, 1), (1, 0)]
    """
    gains = np.asarray(values, np.float64) - least
    if gains.ndim != 2 or not np.isfinite(gains).all():
        raise ValueError(f"values must be a finite matrix [R, C], got {list(gains.shape)}")
    rows, columns = gains.shape
    # A column for each row that gains nothing: the row that has it stays without a pair.
    costs = np.hstack([-np.maximum(gains, 0.0), np.zeros((rows, rows))])
    owner = np.full(costs.shape[1], -1)
    row_price, column_price = np.zeros(rows), np.zeros(costs.shape[1])
    for start in range(rows):
        _augment(costs, start, owner, row_price, column_price)
    pairs = [(int(owner[column]), column) for column in range(columns) if owner[column] >= 0]
    return sorted((row, column) for row, column in pairs if gains[row, column] > 0)


def _augment(costs: np.ndarray, start: int, owner: np.ndarray, row_price: np.ndarray, column_price: np.ndarray) -> None:
    """Give one more row a column, by the cheapest chain of rows that change theirs; all arrays but costs change."""
    count = costs.shape[1]
    distance, before = np.full(count, np.inf), np.full(count, -1)
    done = np.zeros(count, bool)
    row, last, so_far = start, -1, 0.0
    chain = [(start, -1)]
    while True:
        reduced = so_far + costs[row] - row_price[row] - column_price
        nearer = ~done & (reduced < distance)
        distance[nearer], before[nearer] = reduced[nearer], last
        column = int(np.argmin(np.where(done, np.inf, distance)))
        so_far = float(distance[column])
        done[column] = True
        if owner[column] < 0:
            break
        row, last = int(owner[column]), column
        chain.append((row, column))
    for visited, own in chain:
        row_price[visited] += so_far if own < 0 else so_far - distance[own]
    column_price[done] -= so_far - distance[done]
    while column >= 0:
        previous = int(before[column])
        owner[column] = start if previous < 0 else owner[previous]
        column = previous
