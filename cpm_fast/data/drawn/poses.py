"""A body with joints in three dimensions, posed at random.

Lengths are in heads (neck to head top). Axes of the camera: x right, y up, z towards the viewer; of the body: l its own
left, u up, f forward, equal to the camera's if it faces the viewer. The projection is orthographic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cpm_fast.skeleton import LSP

Range = tuple[float, float]
Sides = tuple[float, float]  # leading, other

# Lengths in heads, near the medians of `roi.LIMB_RATIOS`; a little longer, because projection only shortens a limb.
TORSO, UPPER_ARM, FOREARM, THIGH, SHIN = 2.35, 1.27, 1.16, 1.75, 1.75
SHOULDER_HALF, SHOULDER_DROP, HIP_HALF = 0.74, 0.12, 0.37
HAND, FOOT = 0.30, 0.50
# The angle between foot and shin, and the angle by which toes point out: radians.
FOOT_BEND, TOES_OUT = 1.25, np.array([0.3, 0.3])
OUT = np.array([[-1.0], [1.0]])  # right, left
# From neck to ankles of an upright body, with the head and the feet.
UPRIGHT_HEADS = 1.0 + TORSO + THIGH + SHIN + 0.2
HEAD_CENTER, HEAD_AXES = 0.61, np.array([0.31, 0.39, 0.35])


def _fixed(angles: Sides) -> tuple[Range, Range]:
    leading, other = angles
    return (leading, leading), (other, other)


@dataclass(frozen=True)
class Motion:
    """Ranges of joint angles in degrees, each for the leading and for the other side; flexion is forward, spread out.

    The leading leg goes with the arm of its own side, which swings the other way.
    """

    weight: float
    hip: tuple[Range, Range]
    knee: tuple[Range, Range]
    swing: tuple[Range, Range] = ((-15, 20), (-15, 20))
    raise_: tuple[Range, Range] = ((5, 28), (5, 28))
    elbow: tuple[Range, Range] = ((3, 50), (3, 50))
    spread: tuple[Range, Range] = ((1, 10), (1, 10))
    pitch: Range = (-4, 6)
    bend: Range = (-4, 8)

    @classmethod
    def posed(cls, hip: Sides, knee: Sides, swing: Sides, raise_: Sides, elbow: Sides, spread: Sides) -> Motion:
        """Return the motion that has one upright pose, with these angles of the leading and the other side."""
        return cls(
            1.0, _fixed(hip), _fixed(knee), _fixed(swing), _fixed(raise_), _fixed(elbow), _fixed(spread), (0, 0), (0, 0)
        )

    @cached_property
    def ranges(self) -> np.ndarray:
        """Return hip, knee, swing, raise, elbow and spread of both sides, then pitch and bend: [14, 2] radians."""
        pairs = (self.hip, self.knee, self.swing, self.raise_, self.elbow, self.spread)
        return np.radians([side for pair in pairs for side in pair] + [self.pitch, self.bend])

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Draw one angle per range, radians: [14]."""
        return rng.uniform(self.ranges[:, 0], self.ranges[:, 1])


STRAIGHT = ((-6, 12), (-8, 8))
MOTIONS = (
    Motion(0.20, STRAIGHT, ((0, 14), (0, 8))),
    Motion(0.07, STRAIGHT, ((0, 14), (0, 8)), ((-25, 0), (-25, 0)), ((35, 55), (30, 55)), ((70, 105), (60, 105))),
    Motion(0.20, ((15, 35), (-25, -8)), ((3, 20), (8, 45)), ((-35, -8), (10, 40)), elbow=((5, 45), (10, 60))),
    Motion(0.11, ((40, 80), (-30, 0)), ((40, 95), (25, 100)), ((-60, -25), (20, 60)), elbow=((65, 110), (65, 110)),
           pitch=(5, 20)),
    Motion(0.10, STRAIGHT, ((0, 14), (0, 8)), raise_=((95, 168), (95, 168)), elbow=((0, 70), (0, 70))),
    Motion(0.08, STRAIGHT, ((0, 14), (0, 8)), raise_=((80, 165), (5, 40)), elbow=((0, 95), (0, 60))),
    Motion(0.06, ((0, 20), (0, 20)), ((0, 25), (0, 25)), raise_=((45, 140), (45, 140)), spread=((16, 38), (16, 38))),
    Motion(0.06, ((68, 98), (68, 98)), ((60, 105), (60, 105)), ((5, 60), (5, 60)), elbow=((20, 90), (20, 90)),
           spread=((3, 22), (3, 22)), pitch=(-12, 6), bend=(-4, 25)),
    Motion(0.04, ((80, 115), (60, 110)), ((90, 130), (85, 130)), ((20, 75), (20, 75)), spread=((5, 28), (5, 28)),
           pitch=(5, 25), bend=(5, 25)),
    Motion(0.08, ((40, 75), (-32, -8)), ((35, 85), (0, 35)), ((0, 90), (-40, 40)), raise_=((5, 60), (5, 60)),
           spread=((4, 24), (4, 24)), bend=(0, 25)),
)  # fmt: skip
MOTION_STEPS = np.cumsum([motion.weight for motion in MOTIONS])
FRONT_SHARE, BACK_SHARE = 0.46, 0.27
TURNED_OVER_SHARE = 0.03


@dataclass(frozen=True)
class Pose:
    """Joints and frames of a body: axes [3, 3] have l, u, f as columns, points are camera coordinates in heads."""

    parts: np.ndarray  # [14, 3] in the order of LSP
    tips: np.ndarray  # [2, 2, 3] ends of the hands and of the feet; right, left
    pelvis: np.ndarray
    chest: np.ndarray
    head: np.ndarray

    def __getitem__(self, part: str) -> np.ndarray:
        return self.parts[LSP.index(part)]


def rotation(axis: int, angle: float) -> np.ndarray:
    """Return the right-handed rotation about a coordinate axis, radians: [3, 3]."""
    c, s = math.cos(angle), math.sin(angle)
    if axis == 0:
        return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    if axis == 1:
        return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def draw_yaw(rng: np.random.Generator) -> float:
    """Draw the direction that a body faces, radians: 0 to the viewer, pi away from it, positive to the right."""
    kind = rng.random()
    if kind < FRONT_SHARE:
        return math.radians(rng.uniform(-40, 40))
    if kind < FRONT_SHARE + BACK_SHARE:
        return math.radians(180 + rng.uniform(-40, 40))
    return math.radians(rng.uniform(40, 140)) * (1 if rng.random() < 0.5 else -1)


def draw_pose(rng: np.random.Generator, yaw: float, motion: Motion | None = None, roll: float | None = None) -> Pose:
    """Draw a random pose of a body that faces `yaw`; its roll in the image plane is mostly a few degrees."""
    drawn = MOTIONS[int(np.searchsorted(MOTION_STEPS, rng.random() * MOTION_STEPS[-1]))]
    motion = drawn if motion is None else motion
    angles = motion.draw(rng)
    jitter = np.radians(rng.normal(0.0, (7.0, 7.0, 4.0, 7.0, 7.0, 12.0, 6.0)))
    turned = rng.uniform(100, 260) if rng.random() < TURNED_OVER_SHARE else 0.0
    roll = jitter[0] + math.radians(turned) if roll is None else roll
    pelvis = rotation(2, roll) @ rotation(0, jitter[1]) @ rotation(1, yaw) @ rotation(0, angles[12])
    chest = pelvis @ rotation(0, angles[13]) @ rotation(2, jitter[2]) @ rotation(1, jitter[3])
    head = chest @ rotation(0, jitter[4]) @ rotation(1, 2 * jitter[5]) @ rotation(2, jitter[6])

    long = 1 + np.clip(rng.normal(0.0, 0.05, 5), -0.1, 0.1)
    sides = angles[:12].reshape(6, 2)
    # The leading side is the right or the left.
    hip_bend, knee_bend, swing, lifted, elbow_bend, spread = sides if rng.random() < 0.5 else sides[:, ::-1]
    shin_bend = hip_bend - knee_bend
    upper, thigh, shin, foot = direction(
        np.array([swing, hip_bend, shin_bend, shin_bend + FOOT_BEND]),
        np.array([lifted, spread, 0.6 * spread, TOES_OUT]),
    )
    # The elbow bends forward and, by a random share, inward and up.
    towards = np.ones((2, 3))
    towards[:, :2] = rng.normal(0.0, 0.45, (2, 2))
    towards[:, 0] = -OUT[:, 0] * np.abs(towards[:, 0])
    towards[:, 1] += 0.5 * np.sin(lifted)
    towards -= upper * (towards * upper).sum(axis=1, keepdims=True)
    towards /= np.sqrt((towards * towards).sum(axis=1, keepdims=True))
    lower = np.cos(elbow_bend)[:, None] * upper + np.sin(elbow_bend)[:, None] * towards

    neck = TORSO * chest[:, 1]
    # Shoulders rise if the arms are raised above them.
    lift = 0.16 * np.maximum(0.0, -np.cos(lifted)) - SHOULDER_DROP
    arms, legs = np.empty((2, 3, 3)), np.empty((2, 3, 3))  # right and left; joint; l, u, f
    arms[:, 0] = neck + OUT * SHOULDER_HALF * long[0] * chest[:, 0] + lift[:, None] * chest[:, 1]
    arms[:, 1] = arms[:, 0] + UPPER_ARM * long[1] * upper @ chest.T
    arms[:, 2] = arms[:, 1] + FOREARM * long[2] * lower @ chest.T
    legs[:, 0] = OUT * HIP_HALF * long[0] * pelvis[:, 0]
    legs[:, 1] = legs[:, 0] + THIGH * long[3] * thigh @ pelvis.T
    legs[:, 2] = legs[:, 1] + SHIN * long[4] * shin @ pelvis.T
    tips = np.array([arms[:, 2] + HAND * lower @ chest.T, legs[:, 2] + FOOT * foot @ pelvis.T])
    parts = np.concatenate([[neck + head[:, 1], neck], arms.reshape(6, 3), legs.reshape(6, 3)])
    return Pose(parts, tips, pelvis, chest, head)


def direction(flexion: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return directions of limbs [n, 2] (right, left), in body axes: down, flexed forward, spread out: [n, 2, 3]."""
    axes = np.empty((*flexion.shape, 3))
    down = np.cos(spread)
    axes[..., 0] = OUT[:, 0] * np.sin(spread)
    axes[..., 1] = -down * np.cos(flexion)
    axes[..., 2] = down * np.sin(flexion)
    return axes
