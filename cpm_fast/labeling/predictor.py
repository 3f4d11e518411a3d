"""Predictions while a person labels: first for the picture on the screen, then for those without labels."""

from __future__ import annotations

import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.inference import infer
from cpm_fast.labeling.predictions import in_part_order
from cpm_fast.labeling.store import Store
from cpm_fast.model.cpm import CPM
from cpm_fast.system.numbers import is_finite

SAVE_EVERY_SECONDS = 20.0
# The background waits after a request, so that the page stays quick on few cores.
REST_SECONDS = 1.0


class Predictor:
    """Predictions for the pictures of a store, made in a thread.

    Args:
        store: for the predictions.
        model: the network; the parts are matched by name.
        name: of the network in the page.

    Raises:
        ValueError: the network has none of the store's parts.
    """

    def __init__(self, store: Store, model: CPM, name: str) -> None:
        if not set(model.skeleton.names) & set(store.skeleton.names):
            raise ValueError(
                f"the network must have some of the parts {list(store.skeleton.names)}, got "
                f"{list(model.skeleton.names)}"
            )
        self.store, self.model, self.name = store, model, name
        self._wanted: int | None = None
        self._asked = 0.0
        self._stop = threading.Event()
        self._network = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="predictor", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and keep its predictions."""
        self._stop.set()
        self._thread.join()
        self.store.save_predictions()

    def first(self, number: int) -> None:
        """Predict this picture next."""
        self._wanted, self._asked = number, time.monotonic()

    def in_box(self, number: int, box: Any) -> list[list[float] | None]:
        """Return the parts of the subject in a box of a picture: x, y and score each, None where there is none.

        Args:
            number: of the picture.
            box: left, top, right, bottom, image pixels; None: the whole picture.

        Raises:
            ValueError: the box is not one.
        """
        self.first(number)
        fine = isinstance(box, list) and len(box) == 4 and all(map(is_finite, box))
        if box is not None and not fine:
            raise ValueError(f"box must be four numbers or null, got {box!r:.80}")
        found = self._look(self.store.path(number), box)
        points = found[0] if found else np.full((len(self.store.skeleton), 3), np.nan)
        return [[round(float(v), 3) for v in point] if np.isfinite(point).all() else None for point in points]

    def _look(self, path: Path, box: list[float] | None) -> list[np.ndarray]:
        with self._network:
            boxes = None if box is None else np.array([box], np.float64)
            results = infer(path, model=self.model, boxes=boxes, progress=False)
        return in_part_order(results[0], self.store.skeleton)

    def _work(self) -> None:
        left = self.store.unpredicted()
        waiting = set(left)
        saved = time.monotonic()
        while not self._stop.is_set():
            wanted, self._wanted = self._wanted, None
            if wanted not in waiting:
                if not waiting:
                    break
                if time.monotonic() - self._asked < REST_SECONDS:
                    self._stop.wait(0.1)
                    continue
                while left and left[-1] not in waiting:
                    left.pop()
                wanted = left[-1]
            waiting.discard(wanted)
            try:
                self.store.predict(wanted, self._look(self.store.path(wanted), None))
            except (OSError, ValueError) as error:
                warnings.warn(f"no prediction for {self.store.names[wanted]}: {error}", stacklevel=1)
                self.store.predict(wanted, [])
            if time.monotonic() - saved > SAVE_EVERY_SECONDS:
                self.store.save_predictions()
                saved = time.monotonic()
        self.store.save_predictions()
