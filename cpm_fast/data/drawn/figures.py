"""One drawn person: a posed body, dressed, and painted from back to front."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cpm_fast.data.drawn.poses import HEAD_AXES, HEAD_CENTER, Motion, Pose, Range, draw_pose, draw_yaw
from cpm_fast.data.drawn.shapes import (
    Color,
    Polygon,
    any_color,
    capsules,
    fixed_point,
    hull,
    paint_polygon,
    pick_color,
    shade,
)

# Rings around the spine: height between pelvis 0 and neck 1, half width, half depth.
TORSO_RINGS = np.array(
    [
        (-0.10, 0.50, 0.32),
        (0.03, 0.50, 0.33),
        (0.38, 0.43, 0.28),
        (0.76, 0.58, 0.35),
        (0.93, 0.68, 0.26),
        (1.02, 0.26, 0.17),
    ]
)
RING_ANGLES = np.arange(14) * (2 * math.pi / 14)
RING = np.stack([np.cos(RING_ANGLES), np.sin(RING_ANGLES)], axis=1)

SKIN_BGR = ((196, 214, 244), (150, 184, 226), (110, 150, 205), (78, 112, 168), (52, 76, 120), (38, 54, 84))
HAIR_BGR = ((24, 22, 22), (30, 44, 66), (40, 62, 100), (62, 118, 160), (36, 54, 125), (150, 150, 152))
SHOE_BGR = ((40, 38, 36), (230, 230, 228), (40, 60, 100), (60, 60, 190), (150, 90, 40))


@dataclass(frozen=True)
class Figure:
    """A posed and dressed person, its coordinates in heads with y down, ready to be painted at any size and place."""

    parts: np.ndarray  # [14, 2] in the order of LSP
    layers: tuple[Polygon, ...]

    def parts_image(self, head_px: float, origin: np.ndarray) -> np.ndarray:
        """Return the parts of the figure painted with the same arguments: [14, 2] float64 image pixels."""
        return self.parts * head_px + origin

    def paint(self, image: np.ndarray, head_px: float, origin: np.ndarray) -> None:
        """Paint over `image` [H, W, 3] uint8, a head `head_px` long and the pelvis at `origin` (x, y)."""
        points = fixed_point(np.concatenate([layer.polygon for layer in self.layers]) * head_px + origin)
        start = 0
        for layer in self.layers:
            stop = start + len(layer.polygon)
            paint_polygon(image, points[start:stop], layer.color, shade(layer.color, 0.5) if layer.outlined else None)
            start = stop


def draw_figure(
    rng: np.random.Generator, yaw: float | None = None, motion: Motion | None = None, roll: float | None = None
) -> Figure:
    """Draw a random person; arguments not given (facing, kind of motion, roll in the image plane) are random too."""
    pose = draw_pose(rng, draw_yaw(rng) if yaw is None else yaw, motion, roll)
    layers = _Tailor(rng, pose).layers()
    return Figure(_projected(pose.parts), tuple(sorted(layers, key=lambda layer: layer.depth)))


def _projected(points: np.ndarray) -> np.ndarray:
    """Return picture coordinates [..., 2], y down, of camera coordinates [..., 3]."""
    return points[..., :2] * (1.0, -1.0)


def _rim(axis: np.ndarray, angle: float) -> np.ndarray:
    """Return the edge of a round patch on the unit sphere, `angle` degrees about a unit vector: [14, 3]."""
    aside = np.cross(axis, (1.0, 0.0, 0.0))
    aside /= np.linalg.norm(aside)
    circle = RING[:, :1] * aside + RING[:, 1:] * np.cross(axis, aside)
    return math.cos(math.radians(angle)) * axis + math.sin(math.radians(angle)) * circle


def _toward(left: float, up: float, forward: float) -> np.ndarray:
    return np.array([left, up, forward]) / math.sqrt(left * left + up * up + forward * forward)


# Patches of the head, their direction in its own axes and their half width in degrees: face, eyes, mouth, cap, hair.
PATCHES = (
    (_toward(0.0, -0.45, 0.9), 78.0),
    (_toward(-0.4, 0.08, 0.9), 8.0),
    (_toward(0.4, 0.08, 0.9), 8.0),
    (_toward(0.0, -0.52, 0.85), 9.0),
    (_toward(0.0, 0.96, -0.1), 70.0),
    (_toward(0.0, 0.45, -0.9), 102.0),
)
PATCH_RIMS = np.stack([_rim(axis, angle) for axis, angle in PATCHES])
EYE_BGR = (34.0, 28.0, 26.0)


class _Tailor:
    """The dressing of one pose: every choice of color and cut, and the resulting layers."""

    def __init__(self, rng: np.random.Generator, pose: Pose) -> None:
        self.rng, self.pose = rng, pose
        self.stout = min(1.3, max(0.75, rng.normal(1.0, 0.12)))
        self.skin, self.hair = pick_color(rng, SKIN_BGR), pick_color(rng, HAIR_BGR)
        self.shirt, self.trousers, self.trim = any_color(rng), any_color(rng, 0.7), any_color(rng)
        self.shoes = pick_color(rng, SHOE_BGR)
        self.outlined = rng.random() < 0.5
        self.light = 0.28 * np.tanh(rng.normal((0.0, -0.5), 0.6))
        self.gloss = rng.uniform(1.0, 1.28)
        # Depth, ends, radii and color of each capsule; they are outlined together at the end.
        self.limbs: list[tuple[float, np.ndarray, np.ndarray, float, float, Color]] = []

    def layers(self) -> list[Polygon]:
        chance = self.rng.random(6)
        self._arms(sleeve=chance[0])
        self._legs(cut=chance[1])
        layers = self._torso(chance[2]) + self._head(hat=chance[3] < 0.18)
        if chance[4] < 0.25:
            layers += self._backpack()
        if chance[1] > 0.90:
            layers += self._skirt()
        if chance[5] < 0.35:
            self._long_hair()
        return layers + self._capsule_layers()

    def _capsule(self, depth: float, a: np.ndarray, b: np.ndarray, radii: tuple[float, float], color: Color) -> None:
        self.limbs.append((depth, a, b, radii[0] * self.stout, radii[1] * self.stout, color))

    def _capsule_layers(self) -> list[Polygon]:
        ends = _projected(np.array([limb[1:3] for limb in self.limbs]))  # [n, 2, 2]
        radii = np.array([limb[3:5] for limb in self.limbs])
        glossy = self.gloss > 1.06
        if glossy:
            # A lighter core on the side of the light makes the limb look round.
            ends = np.concatenate([ends, ends + radii[:, :, None] * self.light])
            radii = np.concatenate([radii, 0.52 * radii])
        shapes = capsules(ends, radii)
        layers = [Polygon(limb[0], shapes[k], limb[5], self.outlined) for k, limb in enumerate(self.limbs)]
        if glossy:
            cores = shapes[len(layers) :]
            layers += [
                Polygon(limb[0] + 1e-4, cores[k], shade(limb[5], self.gloss)) for k, limb in enumerate(self.limbs)
            ]
        return layers

    def _arms(self, sleeve: float) -> None:
        """Draw arms with no sleeves, short or long ones, and sometimes a band on one wrist."""
        banded = self.rng.integers(-5, 2)
        for side, name in enumerate(("right", "left")):
            shoulder, elbow, wrist = (self.pose[f"{name}_{part}"] for part in ("shoulder", "elbow", "wrist"))
            upper, lower = (shoulder[2] + elbow[2]) / 2 + 0.12, (elbow[2] + wrist[2]) / 2 + 0.10
            long = sleeve > 0.55
            self._capsule(upper, shoulder, elbow, (0.195, 0.145), self.shirt if long else self.skin)
            self._capsule(lower + 0.01, wrist, self.pose.tips[0, side], (0.105, 0.10), self.skin)
            self._capsule(lower + 0.02, elbow, wrist, (0.145, 0.105), self.shirt if long else self.skin)
            if 0.12 < sleeve <= 0.55:
                self._capsule(upper + 0.001, shoulder, shoulder + 0.5 * (elbow - shoulder), (0.21, 0.19), self.shirt)
            if banded == side:
                self._capsule(lower + 0.03, wrist, wrist + 0.1 * (elbow - wrist), (0.12, 0.12), self.trim)

    def _legs(self, cut: float) -> None:
        """Draw shorts, trousers, or (from 0.90) legs for a skirt."""
        bare = cut < 0.35 or cut > 0.90
        for side, name in enumerate(("right", "left")):
            hip, knee, ankle = (self.pose[f"{name}_{part}"] for part in ("hip", "knee", "ankle"))
            toe = self.pose.tips[1, side]
            upper, lower = (hip[2] + knee[2]) / 2 - 0.05, (knee[2] + ankle[2]) / 2 - 0.02
            self._capsule(lower, knee, ankle, (0.195, 0.125), self.skin if bare else self.trousers)
            self._capsule(
                lower + 0.4 * (toe[2] - ankle[2]) + 0.01, ankle + 0.06 * (knee - ankle), toe, (0.15, 0.11), self.shoes
            )
            self._capsule(upper, hip, knee, (0.29, 0.20), self.skin if bare else self.trousers)
            if cut < 0.35:
                self._capsule(upper + 0.001, hip, hip + (0.5 + cut) * (knee - hip), (0.31, 0.27), self.trousers)

    def _ring(self, height: np.ndarray) -> np.ndarray:
        """Return rings around the spine at heights [n] (pelvis 0, neck 1): [n, 14, 3]."""
        wide, deep = (np.interp(height, TORSO_RINGS[:, 0], TORSO_RINGS[:, k]) * self.stout**0.7 for k in (1, 2))
        axes = (1 - height)[:, None, None] * self.pose.pelvis + height[:, None, None] * self.pose.chest  # [n, 3, 3]
        center = height[:, None] * self.pose["neck"]
        across = (wide[:, None] * axes[:, :, 0])[:, None] * RING[:, :1]
        along = (deep[:, None] * axes[:, :, 2])[:, None] * RING[:, 1:]
        return center[:, None] + across + along

    def _torso(self, style: float) -> list[Polygon]:
        """Draw a shirt: plain, striped across, printed in front, or an open jacket; tucked in or not."""
        depth = self.pose["neck"][2] / 2
        striped = style < 0.3
        heights = np.linspace(-0.10, 1.02, 12) if striped else TORSO_RINGS[:, 0]
        rings = _projected(self._ring(heights))  # [n, 14, 2]
        bands = [hull(rings[k : k + 2].reshape(-1, 2)) for k in range(len(rings) - 1)]
        colors = [self.trim if striped and k % 2 else self.shirt for k in range(len(bands))]
        if not striped and style * 10 % 1 < 0.5:
            colors[0] = self.trousers
        layers = [Polygon(depth + 1e-4, band, color) for band, color in zip(bands, colors, strict=True)]
        if self.outlined:
            # The inside of the bands' outlines is painted over.
            layers += [Polygon(depth, band, self.shirt, True) for band in bands]
        if self.gloss > 1.06 and not striped:
            core = 0.55 * rings[[1, 3]] + 0.45 * rings[[1, 3]].mean(axis=1, keepdims=True)
            layers.append(Polygon(depth + 2e-4, hull(core.reshape(-1, 2)), shade(self.shirt, 0.5 + 0.5 * self.gloss)))
        if self.pose.chest[2, 2] > 0.25:
            if 0.3 <= style < 0.5:
                layers.append(Polygon(depth + 3e-4, self._patch((0.50, 0.82), (0.5, 0.6)), self.trim))
            elif 0.5 <= style < 0.7:
                layers.append(Polygon(depth + 3e-4, self._patch((-0.08, 0.97), (0.16, 0.34)), self.trim))
            layers.append(Polygon(depth + 4e-4, self._patch((0.84, 1.01), (0.05, 0.95)), self.skin))
        return layers

    def _patch(self, heights: Range, angles: Range) -> np.ndarray:
        """Draw a four-sided patch on the front of the torso; its half width is an angle at either height."""
        corners = []
        for height, angle, signs in ((heights[0], angles[0], (-1, 1)), (heights[1], angles[1], (1, -1))):
            wide, deep = (float(np.interp(height, TORSO_RINGS[:, 0], TORSO_RINGS[:, k])) for k in (1, 2))
            for sign in signs:
                local = np.array([wide * math.sin(sign * angle), 0.0, deep * math.cos(angle)])
                corners.append(height * self.pose["neck"] + self.pose.chest @ local)
        return hull(_projected(np.array(corners)))

    def _head(self, hat: bool) -> list[Polygon]:
        """Draw hair all around, the face in front of it, eyes, mouth and nose; a cap hides the hair above."""
        frame = self.pose.head
        middle = self.pose["neck"] + HEAD_CENTER * frame[:, 1]
        matrix = frame * HEAD_AXES
        depth = middle[2] + 0.05
        self._capsule(depth - 0.04, self.pose["neck"], middle, (0.165, 0.15), shade(self.skin, 0.9))
        # The outline of the ellipsoid {matrix u: |u| = 1} is an ellipse: the Cholesky factor of its 2 x 2 covariance.
        factor = np.linalg.cholesky(matrix[:2] @ matrix[:2].T)
        normal = frame[2] / HEAD_AXES  # u is visible where normal @ u > 0
        normal /= math.sqrt(normal @ normal)
        # Points behind the horizon move onto it, which is right for a patch whose middle is visible.
        rims = PATCH_RIMS - np.minimum(PATCH_RIMS @ normal, 0.0)[:, :, None] * normal  # [6, 14, 3]
        rims /= np.sqrt((rims * rims).sum(axis=2, keepdims=True))
        shapes = _projected(middle + rims @ matrix.T)
        colors = (self.skin, EYE_BGR, EYE_BGR, shade(self.skin, 0.6), self.trim, self.hair)
        # From the front the face lies on the hair, from behind the hair lies on the face.
        from_front = float(PATCHES[0][0] @ normal) > 0
        skull = _projected(middle[:2] + RING @ factor.T)
        layers = [Polygon(depth, skull, self.hair if from_front else self.skin, self.outlined)]
        shown = [0 if from_front else 5, *(k for k in (1, 2, 3) if PATCHES[k][0] @ normal > 0.1)]
        if hat and PATCHES[4][0] @ normal > -0.4:
            shown.append(4)
        layers += [Polygon(depth + 1e-3 * (n + 1), shapes[k], colors[k]) for n, k in enumerate(shown)]
        if frame[2, 2] > -0.3:
            nose = middle + matrix @ (0.0, -0.15, 0.92)
            self._capsule(depth + 4e-3, nose, nose + 0.08 * frame[:, 2], (0.055, 0.045), shade(self.skin, 0.92))
        return layers

    def _long_hair(self) -> None:
        chest, neck = self.pose.chest, self.pose["neck"]
        crown = neck + 0.6 * self.pose.head[:, 1] - 0.10 * self.pose.head[:, 2]
        ends = neck + chest @ (0.0, -0.35, -0.30)
        depth = self.pose["neck"][2] - 0.35 * chest[2, 2]
        self._capsule(depth, crown, ends, (0.30 / self.stout, 0.22 / self.stout), self.hair)

    def _backpack(self) -> list[Polygon]:
        chest, neck = self.pose.chest, self.pose["neck"]
        box = np.array([(x, y, z) for x in (-0.42, 0.42) for y in (-0.12, -1.3) for z in (-0.24, -0.68)])
        corners = neck + box @ chest.T
        color = shade(self.trim, 0.8)
        depth = neck[2] / 2 - 0.40 * chest[2, 2]
        if chest[2, 2] > 0.1:
            for out in (-1, 1):
                ends = neck + np.array([(0.34 * out, 0.02, 0.14), (0.42 * out, -1.0, 0.30)]) @ chest.T
                self._capsule(neck[2] / 2 + 0.01, ends[0], ends[1], (0.065, 0.065), color)
        lid = neck + (box * (0.75, 1.0, 1.0) + (0.0, -0.16, -0.02))[[0, 1, 4, 5]] @ chest.T
        layers = [Polygon(depth, hull(_projected(corners)), color, True)]
        return layers + ([Polygon(depth + 1e-3, hull(_projected(lid)), shade(color, 1.2))] if chest[2, 2] < 0 else [])

    def _skirt(self) -> list[Polygon]:
        hips = np.stack([self.pose["right_hip"], self.pose["left_hip"]])
        knees = np.stack([self.pose["right_knee"], self.pose["left_knee"]])
        hem = hips + 0.55 * (knees - hips)
        around = 0.34 * self.stout * RING
        low = (_projected(hem)[:, None] + around).reshape(-1, 2)
        top = _projected(self._ring(np.array([0.12]))[0])
        depth = float(hem[:, 2].max()) + 0.05
        return [Polygon(depth, hull(np.concatenate([low, top])), self.trousers, self.outlined)]
