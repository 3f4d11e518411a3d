"""Short videos of a drawn walking figure for the tests of streaming, with exact parts in every frame."""

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from cpm_fast.data.drawn.figures import draw_figure
from cpm_fast.data.drawn.poses import Motion

SIZE, RATE = (180, 320), 25.0
HEAD_PX = 17.0
STEP_SECONDS = 1.1


def walk(seconds: float, seed: int = 3, size: tuple[int, int] = SIZE) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield frames [H, W, 3] uint8 BGR of a person who walks back and forth, waving, and the parts [14, 2] in each."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    background = np.stack([120 + x / 8, 140 - y / 4, 110 + 20 * np.sin(x / 30)], axis=2).astype(np.uint8)
    for i in range(round(seconds * RATE)):
        t = i / RATE
        swing = math.sin(2 * math.pi * t / STEP_SECONDS)
        wave = 100 + 45 * math.sin(2 * math.pi * t / 2.5)
        hip, knee = 22 * swing, 12 + 10 * math.cos(2 * math.pi * t / STEP_SECONDS)
        angles = {"hip": (hip, -hip), "knee": (knee, 24 - knee), "swing": (-hip, hip), "raise_": (wave, 12)}
        motion = Motion.posed(**angles, elbow=(20, 25), spread=(4, 4))
        # The random numbers are the same each time, so that the person and the clothes are too.
        figure = draw_figure(np.random.default_rng(seed), yaw=0.4, motion=motion, roll=0.0)
        origin = np.array([width / 2 + 0.32 * width * math.sin(2 * math.pi * t / 10), 0.5 * height])
        image = background.copy()
        figure.paint(image, HEAD_PX, origin)
        yield image, figure.parts_image(HEAD_PX, origin)


def write_walk(path: Path, seconds: float, seed: int = 3, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Write the same frames to a file and return the parts [F, 14, 2]."""
    codec = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), codec, RATE, (size[1], size[0]))
    parts = []
    for image, points in walk(seconds, seed, size):
        writer.write(image)
        parts.append(points)
    writer.release()
    return np.array(parts)
