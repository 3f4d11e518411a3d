"""Random scenes: a whole picture, parts of pictures side by side, subjects on a background, or a background alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cpm_fast.config import STRIDE
from cpm_fast.data.augment import Draw, box_matrix, draw
from cpm_fast.data.effects import altered
from cpm_fast.data.sample import Sample
from cpm_fast.data.scenes.backgrounds import background_of
from cpm_fast.data.scenes.material import Material
from cpm_fast.data.scenes.mosaic import mosaic
from cpm_fast.data.scenes.pasting import pasted
from cpm_fast.data.scenes.scene import Scene, photograph
from cpm_fast.model.crops import warp
from cpm_fast.roi import Roi

# How often a picture is seen whole, how often parts of pictures lie side by side, and how often there is a background
# alone; in the rest, subjects are pasted.
WHOLE_SHARE, MOSAIC_SHARE, EMPTY_SHARE = 0.25, 0.35, 0.08
# How often such a scene is smaller than the network's input, with nothing around it, and its sides as shares of it: at
# its coarse sizes a finder sees large subjects, cut by the edges of a small picture.
FRAMED_SHARE, FRAMED_SIDE = 0.35, (0.35, 1.0)
# Longer side of a whole picture over the scene's.
WHOLE_SCALE = (0.45, 1.7)
# Turns of whole pictures show their corners, so that they are rare.
WHOLE_TURNED = 0.25


def compose(sample: Sample, material: Material, random: np.random.Generator) -> Scene:
    """Compose one scene of the size that the network is trained on.

    Args:
        sample: the one that is in the scene, unless the scene is empty; a complete picture is seen whole.
        material: the other samples, the finder and the backgrounds.
        random: the source of all random numbers.

    Raises:
        ValueError, OSError: a sample or a background can't be read.
    """
    kind = random.random()
    if sample.complete or kind < WHOLE_SHARE:
        return _altered(_whole(sample, material, random), material, random)
    size = material.size
    if random.random() < FRAMED_SHARE:
        high, wide = (max(STRIDE, round(pixels * random.uniform(*FRAMED_SIDE))) for pixels in size)
        material = replace(material, shown=(high, wide))
    if kind < WHOLE_SHARE + MOSAIC_SHARE:
        scene = mosaic(sample, material, random)
    elif kind < WHOLE_SHARE + MOSAIC_SHARE + EMPTY_SHARE:
        image, doubtful = background_of(material, random)
        scene = Scene(image, doubtful=doubtful)
    else:
        scene = pasted(sample, material, random)
    return _framed(_altered(scene, material, random), size, material.network.padding_value, random)


def _altered(scene: Scene, material: Material, random: np.random.Generator) -> Scene:
    """Return a scene with other colors, blur and traces of compression."""
    drawn, skeleton = draw(material.augmentation, random), material.skeleton
    nobody = np.zeros((1, len(skeleton), 2))
    image = altered(scene.image, nobody, np.zeros((1, len(skeleton)), bool), skeleton, drawn, None)
    return replace(scene, image=image)


def _framed(scene: Scene, size: tuple[int, int], padding: int, random: np.random.Generator) -> Scene:
    """Return a scene at a random place in (H, W) pixels of the padding value."""
    height, width = scene.image.shape[:2]
    if (height, width) == size:
        return scene
    top, left = int(random.integers(size[0] - height + 1)), int(random.integers(size[1] - width + 1))
    image = np.full((*size, 3), padding, np.uint8)
    image[top : top + height, left : left + width] = scene.image
    rois, ignored = (
        tuple(Roi((roi.center[0] + left, roi.center[1] + top), roi.side) for roi in each)
        for each in (scene.rois, scene.ignored)
    )
    return replace(scene, image=image, rois=rois, ignored=ignored)


def _whole(sample: Sample, material: Material, random: np.random.Generator) -> Scene:
    """Return a whole picture at some scale, cut by the scene or with nothing around it."""
    network, size = material.network, material.size
    height, width = sample.image.shape[:2]
    scale = math.exp(random.uniform(*np.log(WHOLE_SCALE)))
    drawn = draw(material.augmentation, random)
    degrees = drawn.degrees if random.random() < WHOLE_TURNED else 0.0
    side = max(height, width) / scale  # of the square of the picture that the scene shows
    roi = sample.region(network.margin)
    center = []
    for axis, pixels in enumerate((width, height)):
        # The scene lies within the picture, or the picture within the scene; the subject's middle is in it.
        low, high = sorted((side / 2, pixels - side / 2))
        at = random.uniform(low, high)
        reach = 0.45 * side
        center.append(float(np.clip(at, roi.center[axis] - reach, roi.center[axis] + reach)))
    matrix = box_matrix(Roi((center[0], center[1]), side), size, replace(Draw(), degrees=degrees, flip=drawn.flip))
    image = warp(sample.image, matrix, size, network.padding_value)
    return photograph(image, matrix, sample, material.skeleton, material.network.margin)
