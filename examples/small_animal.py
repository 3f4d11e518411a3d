"""Pictures and a video of a small animal in large frames, drawn, with labels: data for a finder of one's own.

    python examples/small_animal.py --pictures 60 -o animal

It writes labels.csv, skeleton.toml and the pictures that they name, and animal.mp4, of 1280 x 720 pixels. The animal
is seen from above, about 70 pixels long, and walks on a floor of leaves and stones. docs/finding.md trains with it.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from cpm_fast.media.video_out import write_video
from cpm_fast.system.files import atomic_write

SIZE, RATE = (720, 1280), 25.0
PARTS = ("nose", "left_ear", "right_ear", "tail_base")
# Places along and across the body, in lengths of it.
PLACES = np.array([[0.5, 0.0], [0.3, -0.13], [0.3, 0.13], [-0.4, 0.0]])
LENGTH_PX, STEP_PX = 70.0, 4.0
SKELETON = f"""names = {list(PARTS)}
limbs = [["nose", "left_ear"], ["nose", "right_ear"], ["left_ear", "tail_base"], ["right_ear", "tail_base"]]
pairs = [["left_ear", "right_ear"]]
""".replace("'", '"')


def floor(random: np.random.Generator, things: int = 120) -> np.ndarray:
    """Return a floor with leaves and stones: [H, W, 3] uint8 BGR."""
    coarse = random.uniform(90, 150, (SIZE[0] // 60, SIZE[1] // 60, 1)) + random.uniform(-12, 12, 3)
    coarse = coarse.astype(np.float32)
    image = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    image = np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    for _ in range(things):
        place, axes = random.uniform((0, 0), SIZE[::-1]), random.uniform(4, 32, 2)
        color = np.clip(random.uniform(40, 200) + random.uniform(-30, 30, 3), 0, 255).tolist()
        ellipse(image, place, axes, random.uniform(0, 180), color)
    return image


def paint(image: np.ndarray, place: np.ndarray, heading: float, phase: float) -> np.ndarray:
    """Draw the animal into an image [H, W, 3], and return its parts [4, 2] in image pixels.

    Args:
        image: to change.
        place: (x, y) of the middle of its body.
        heading: direction of its nose, in degrees from the x axis towards the y axis.
        phase: of its tail's swing, in turns.
    """
    angle = math.radians(heading)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    parts = place + LENGTH_PX * PLACES @ turn
    fur, ear = (62.0, 70.0, 84.0), (120.0, 130.0, 190.0)
    swing = 0.25 * math.sin(2 * math.pi * phase)
    tail = place + LENGTH_PX * np.array([[-0.4, 0.0], [-0.65, 0.5 * swing], [-0.9, swing]]) @ turn
    cv2.polylines(image, [np.round(tail).astype(np.int32)], False, ear, 3, cv2.LINE_AA)
    ellipse(image, place - LENGTH_PX * np.array([0.07, 0.0]) @ turn, np.array([0.34, 0.17]) * LENGTH_PX, heading, fur)
    ellipse(image, place + LENGTH_PX * np.array([0.33, 0.0]) @ turn, np.array([0.18, 0.11]) * LENGTH_PX, heading, fur)
    for point in parts[1:3]:
        ellipse(image, point, np.array([0.07, 0.06]) * LENGTH_PX, heading, ear)
    return parts


def ellipse(image: np.ndarray, place: np.ndarray, axes: np.ndarray, angle: float, color: Sequence[float]) -> None:
    """Fill an ellipse about (x, y), with half its two axes in pixels, turned by degrees."""
    box = (tuple(place.tolist()), tuple((2 * axes).tolist()), angle)
    cv2.ellipse(image, box, color, cv2.FILLED, cv2.LINE_AA)


def write_pictures(folder: Path, count: int, random: np.random.Generator) -> None:
    """Write pictures of the animal at any place, and the table of its parts and boxes."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        image, place = floor(random), random.uniform((80, 80), (SIZE[1] - 80, SIZE[0] - 80))
        parts = paint(image, place, random.uniform(0, 360), random.uniform())
        name = f"pictures/{number:03d}.jpg"
        cv2.imwrite(str(folder / name), image)
        box = (*parts.min(axis=0), *parts.max(axis=0))
        rows.append([name, *(f"{value:.2f}" for value in (*box, *parts.ravel()))])
    head = ["image", "left", "top", "right", "bottom", *(f"{part}_{axis}" for part in PARTS for axis in "xy")]
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    with atomic_write(folder / "skeleton.toml") as file:
        file.write(SKELETON.encode())


def write_walk(path: Path, frames: int, random: np.random.Generator) -> None:
    """Write a video of the animal, which walks along a curve and back from the border."""
    background, place, heading = floor(random), np.array([SIZE[1] / 2, SIZE[0] / 2]), random.uniform(0, 360)
    with write_video(path, RATE, SIZE) as video:
        for number in range(frames):
            image = background.copy()
            paint(image, place, heading, number / RATE)
            video.write(image)
            heading += 3 * math.sin(number / 15)
            ahead = np.array([math.cos(math.radians(heading)), math.sin(math.radians(heading))])
            if not ((place + 90 * ahead > 0) & (place + 90 * ahead < SIZE[::-1])).all():
                heading += 20
            else:
                place = place + STEP_PX * ahead


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=int, default=60, help="with labels (%(default)s)")
    parser.add_argument("--frames", type=int, default=100, help="of the video (%(default)s)")
    parser.add_argument("-o", "--out", type=Path, default=Path("animal"), help="folder to write (%(default)s)")
    options = parser.parse_args(arguments)
    random = np.random.default_rng(0)
    write_pictures(options.out, options.pictures, random)
    write_walk(options.out / "animal.mp4", options.frames, random)
    print(f"wrote {options.out / 'labels.csv'}, {options.out / 'animal.mp4'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
