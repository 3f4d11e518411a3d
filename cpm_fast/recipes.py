"""Settings of a training: frozen dataclasses, and the recipes by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from cpm_fast.system.numbers import is_finite, is_whole, make_plain

# Larger values prevent learning, and overflow.
SCALES = (0.01, 100.0)
LARGEST_PX, LARGEST_COUNT, LARGEST_EPOCHS, LARGEST_FACTOR, LARGEST_SEED = 1e4, 1 << 20, 1e7, 1e6, 1 << 40
# `gaussian_targets` takes no narrower peaks.
SMALLEST_ROBUST, SMALLEST_SIGMA = 1e-6, 1e-3
SCHEMES = ("joint", "stagewise", "stagewise_then_joint", "final_only")


@dataclass(frozen=True)
class AugmentationConfig:
    """Ranges of the random changes to a training sample; the defaults are the release's.

    Args:
        scale_min, scale_max: of the factor on the nominal magnification.
        rotate_degrees: rotation is uniform within plus and minus this.
        shift_px: the subject's center is moved by up to this on each axis, box pixels.
        flip_probability: of mirroring.
        center_px: largest random error of the center map's peak on each axis, box pixels.
        brightness: added to all pixels, uniform within plus and minus this share of 255.
        contrast, saturation: differences to the crop's mean, and to gray, are multiplied by 1 plus or minus up to this.
        occlude_probability: of a rectangle of one color over the crop; parts under it keep their labels.
        occlude_share: of the box's sides, at most, for the sides of the rectangle, and of pieces of other pictures.
        region_center: the region is off by a normal error of this standard deviation on each axis, in shares of its
            side; the center map's peak is at the region's center, as in inference.
        region_scale: standard deviation of the logarithm of the region's side.
        whole_probability: of the whole picture as region, for subjects that are at least half as large.
        half_probability: of a region around the parts at one end of the body, upper or lower.
        border_probability: of a picture that ends at a line through the subject; parts beyond it are removed.
        border_share: of the subject's extent, at most, that is cut off by it.
        background_probability: of the surroundings of another subject behind the people, who are kept with some room
            about their limbs.
        paste_probability: of a piece of another picture over the crop, a rectangle or an ellipse; parts under it keep
            their labels.
        blur_probability: of a Gaussian blur, with a standard deviation of up to `blur_px` box pixels.
        blur_px: see there.
        jpeg_probability: of a compression, with a quality from `jpeg_quality` to 95.
        jpeg_quality: see there.
    """

    scale_min: float = 0.7
    scale_max: float = 1.3
    rotate_degrees: float = 40.0
    shift_px: float = 0.0
    flip_probability: float = 0.5
    center_px: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    occlude_probability: float = 0.0
    occlude_share: float = 0.4
    region_center: float = 0.0
    region_scale: float = 0.0
    whole_probability: float = 0.0
    half_probability: float = 0.0
    border_probability: float = 0.0
    border_share: float = 0.5
    background_probability: float = 0.0
    paste_probability: float = 0.0
    blur_probability: float = 0.0
    blur_px: float = 2.0
    jpeg_probability: float = 0.0
    jpeg_quality: int = 20

    def __post_init__(self) -> None:
        make_plain(self)
        if not is_whole(self.jpeg_quality) or not 1 <= self.jpeg_quality <= 95:
            raise ValueError(f"jpeg_quality must be a whole number from 1 to 95, got {self.jpeg_quality!r}")
        for field in dataclasses.fields(self):
            if not is_finite(getattr(self, field.name)):
                raise ValueError(f"{field.name} must be a finite number, got {getattr(self, field.name)!r}")
        low, high = SCALES
        if not low <= self.scale_min <= self.scale_max <= high:
            raise ValueError(
                f"scale_min must be from {low:g}, positive and at most scale_max, and that at most {high:g}, "
                f"got {self.scale_min, self.scale_max}"
            )
        if not 0 <= self.rotate_degrees <= 180:
            raise ValueError(f"rotate_degrees must be 0 to 180, got {self.rotate_degrees}")
        for name in ("shift_px", "center_px", "blur_px"):
            if not 0 <= getattr(self, name) <= LARGEST_PX:
                raise ValueError(f"{name} must be 0 or more and at most {LARGEST_PX:g}, got {getattr(self, name)}")
        shares = ("brightness", "contrast", "saturation", "region_center", "region_scale")
        for name in (*(field.name for field in dataclasses.fields(self) if "probability" in field.name), *shares):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        for name in ("occlude_share", "border_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training. The defaults are the release's recipe ("paper").

    Args:
        optimizer: "sgd" (momentum 0.9, as released) or "adamw".
        learning_rate: of weights, before the factors below.
        schedule: "step": times `step_factor` every `step_epochs` epochs; "cosine": linear warm-up, then down to 0.
        step_factor, step_epochs: of the step schedule; 84 epochs are the release's 136,106 steps on MPII.
        warmup: share of all steps over which the cosine schedule warms up.
        stage1_factor: on the learning rate of stage 1 and its own trunk.
        stage_factors: on the learning rate of each stage on top of that, from the first; of stages beyond the list: 1.
        trunk_factor: on the learning rate of all trunks on top.
        frozen_blocks: of a run that starts from weights: the first blocks of the trunk that keep them, with their
            statistics. They see the largest maps, so that a step takes less time.
        bias_factor: on the learning rate of biases.
        weight_decay: on convolution weights only.
        clip_norm: largest norm of the whole gradient; 0: no limit.
        batch: samples per step, over all processes.
        accumulate: pieces of each process's share of a batch, one after the other, whose gradients add up: less memory
            for the same batch. Batch normalization and dropout see the pieces one by one.
        epochs: passes over the data.
        average: decay of the moving average of the weights per step; the average is then validated, and kept as best
            and final weights. 0: none.
        scheme: of the stages (Wei et al. 2016, Figure 6b): "joint" from the start with a loss at every stage (as
            released), "stagewise" one after the other, "stagewise_then_joint", or "final_only": joint, with the loss of
            the last stage alone. Every phase has its own schedule.
        loss_mode: "zero": an unlabeled part is a map of zeros, as released; "mask": its map does not count.
        robust: for labels that may be wrong: the weight of a part's squared error falls above this many times that of
            a missed part (Cauchy's loss, see `training.targets.loss.stage_losses`). 0: Eq. 4 unchanged.
        part_sigma: of the belief targets, box pixels.
        teacher: weights, a file or a bundled name, of a trained network of the same parts, whose beliefs are mixed into
            the targets of the later stages; an unlabeled part has them alone. Empty: none.
        teacher_share: of its beliefs in the targets.
        augmentation: the random changes.
        precision: "fp32"; "tf32": products on CUDA round their inputs to 10 bits; "bf16": the network runs under
            autocast, weights and losses stay fp32.
        seed: of weights, order, augmentation and dropout.

    Examples:
        >>> TrainingConfig(batch=8).learning_rate
        8e-05
    """

    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 8e-5
    schedule: Literal["step", "cosine"] = "step"
    step_factor: float = 0.333
    step_epochs: float = 84.0
    warmup: float = 0.0
    stage1_factor: float = 5.0
    stage_factors: tuple[float, ...] = ()
    trunk_factor: float = 1.0
    frozen_blocks: int = 0
    bias_factor: float = 2.0
    weight_decay: float = 5e-4
    clip_norm: float = 0.0
    batch: int = 16
    accumulate: int = 1
    epochs: float = 100.0
    average: float = 0.0
    scheme: Literal["joint", "stagewise", "stagewise_then_joint", "final_only"] = "joint"
    loss_mode: Literal["zero", "mask"] = "zero"
    robust: float = 0.0
    part_sigma: float = 7.0
    teacher: str = ""
    teacher_share: float = 0.5
    augmentation: AugmentationConfig = AugmentationConfig()
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        def require(fine: bool, name: str, wanted: str) -> None:
            if not fine:
                raise ValueError(f"{name} must be {wanted}, got {getattr(self, name)!r}")

        make_plain(self)
        require(self.optimizer in ("sgd", "adamw"), "optimizer", "'sgd' or 'adamw'")
        require(self.schedule in ("step", "cosine"), "schedule", "'step' or 'cosine'")
        require(self.loss_mode in ("zero", "mask"), "loss_mode", "'zero' or 'mask'")
        require(self.precision in ("fp32", "tf32", "bf16"), "precision", "'fp32', 'tf32' or 'bf16'")
        require(self.scheme in SCHEMES, "scheme", f"one of {list(SCHEMES)}")
        require(is_finite(self.average) and 0 <= self.average < 1, "average", "from 0 to below 1")
        factors = self.stage_factors
        fine = isinstance(factors, tuple) and all(is_finite(each) and 0 < each <= LARGEST_FACTOR for each in factors)
        require(fine, "stage_factors", "positive numbers")
        rates = ("learning_rate", "step_factor", "stage1_factor", "trunk_factor", "bias_factor")
        most = dict.fromkeys(rates, LARGEST_FACTOR) | {
            "step_epochs": LARGEST_EPOCHS,
            "epochs": LARGEST_EPOCHS,
            "part_sigma": LARGEST_PX,
        }
        for name, limit in most.items():
            fine = is_finite(getattr(self, name)) and 0 < getattr(self, name) <= limit
            require(fine, name, f"a positive number of at most {limit:g}")
        require(self.part_sigma >= SMALLEST_SIGMA, "part_sigma", f"at least {SMALLEST_SIGMA:g} box pixels")
        require(isinstance(self.augmentation, AugmentationConfig), "augmentation", "an AugmentationConfig")
        for name in ("weight_decay", "clip_norm", "robust"):
            fine = is_finite(getattr(self, name)) and 0 <= getattr(self, name) <= LARGEST_FACTOR
            require(fine, name, f"0 or more and at most {LARGEST_FACTOR:g}")
        # The loss divides by it, in float32.
        require(not 0 < self.robust < SMALLEST_ROBUST, "robust", f"0, or {SMALLEST_ROBUST:g} or more")
        require(isinstance(self.teacher, str), "teacher", "a file or name of weights, or empty")
        fine = is_finite(self.teacher_share) and 0 < self.teacher_share <= 1
        require(fine, "teacher_share", "above 0 and at most 1")
        require(is_finite(self.warmup) and 0 <= self.warmup < 1, "warmup", "from 0 to below 1")
        for name in ("batch", "accumulate"):
            fine = is_whole(getattr(self, name)) and 1 <= getattr(self, name) <= LARGEST_COUNT
            require(fine, name, f"a whole number of at least 1 and at most {LARGEST_COUNT}")
        fine = is_whole(self.frozen_blocks) and 0 <= self.frozen_blocks <= LARGEST_COUNT
        require(fine, "frozen_blocks", f"a whole number, 0 or more, and at most {LARGEST_COUNT}")
        fine = is_whole(self.seed) and 0 <= self.seed <= LARGEST_SEED
        require(fine, "seed", f"a whole number, 0 or more, and at most {LARGEST_SEED}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and strings, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Make a config of the result of `to_dict`.

        Raises:
            ValueError: a field is unknown or out of its range.
        """
        return cls().changed(values)

    def changed(self, values: Mapping[str, Any]) -> TrainingConfig:
        """Return this recipe with other values of some fields; so is its augmentation changed, field by field.

        Args:
            values: name of a field -> its value, as in `to_dict`.

        Raises:
            ValueError: a field is unknown (the message says which may be meant) or out of its range.

        >>> RECIPES["modern"].changed({"epochs": 5, "augmentation": {"rotate_degrees": 10}}).optimizer
        'adamw'
        """
        given = dict(values)
        _known(given, TrainingConfig, "training")
        try:
            if "augmentation" in given:
                inner = dict(given["augmentation"])
                _known(inner, AugmentationConfig, "augmentation")
                given["augmentation"] = dataclasses.replace(self.augmentation, **inner)
            if "stage_factors" in given:
                given["stage_factors"] = tuple(given["stage_factors"])
            return dataclasses.replace(self, **given)
        except TypeError as error:
            raise ValueError(f"training config is not of its form: {error}") from None


def _known(given: Mapping[str, Any], config: type, what: str) -> None:
    names = [field.name for field in dataclasses.fields(config)]
    for name in given:
        if name not in names:
            close = get_close_matches(str(name), names, n=1, cutoff=0.5)
            meant = f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"
            raise ValueError(f"{what} has no field {name!r:.60}; {meant}")


RECIPES = {
    "paper": TrainingConfig(),
    # The network on VGG-19: the factors of its released file, convolutions of later stages at four times the rate of
    # the layers from ImageNet. The rest of its training was not released; here it is as for the other networks.
    "paper-vgg": TrainingConfig(stage1_factor=1.0, stage_factors=(1.0, *(4.0,) * 5)),
    # Ours: masked loss, AdamW, one cosine. The rate served the compact preset on drawn figures; it was not searched.
    "modern": TrainingConfig(
        optimizer="adamw",
        learning_rate=4e-3,
        schedule="cosine",
        warmup=0.05,
        stage1_factor=1.0,
        bias_factor=1.0,
        weight_decay=0.01,
        clip_norm=5.0,
        batch=16,
        epochs=30.0,
        loss_mode="mask",
        augmentation=AugmentationConfig(shift_px=8.0),
    ),
}
# Ours for a long training of the bundled networks on people: many passes, so strong changes, and regions as the finder
# and the edges of everyday photographs give them. Errors of regions are twice those that cost nothing in
# benchmarks/results/robustness.json.
RECIPES["long"] = dataclasses.replace(
    RECIPES["modern"],
    learning_rate=3e-3,
    batch=32,
    epochs=100.0,
    average=0.999,
    augmentation=AugmentationConfig(
        scale_min=0.65,
        scale_max=1.35,
        rotate_degrees=45.0,
        brightness=0.2,
        contrast=0.25,
        saturation=0.4,
        occlude_probability=0.1,
        region_center=0.05,
        region_scale=0.08,
        whole_probability=0.15,
        half_probability=0.1,
        border_probability=0.15,
        background_probability=0.1,
        paste_probability=0.3,
        blur_probability=0.1,
        jpeg_probability=0.15,
    ),
)
# Ours for a finder, whose scenes are composed at all sizes: the scales and regions of crops have no part in them.
RECIPES["find"] = dataclasses.replace(
    RECIPES["modern"],
    learning_rate=3e-3,
    epochs=20.0,
    average=0.998,
    augmentation=AugmentationConfig(
        rotate_degrees=25.0,
        brightness=0.2,
        contrast=0.25,
        saturation=0.4,
        occlude_probability=0.1,
        occlude_share=0.3,
        blur_probability=0.15,
        jpeg_probability=0.15,
    ),
)
# For few samples, which start from the weights of a network for people: little random change, small batches, and as
# many steps as two cores do in two minutes. On 18 of the 72 training frames of a mouse on a wheel, for as many samples
# seen, batches of 8 had a smaller mean error than batches of 16 (5.4 and 5.7 px), and fewer errors above 20 px (5 and
# 7). A moving average of the weights changed nothing at the end of the cosine, and nor did learning in the first two
# blocks, a quarter of the time: on another 18 both had 6.7 px, with 11 errors above 20 px, and 13 without it.
FEW_STEPS = 400
RECIPES["few"] = dataclasses.replace(
    RECIPES["modern"],
    learning_rate=3e-3,
    batch=8,
    epochs=50.0,
    frozen_blocks=2,
    augmentation=AugmentationConfig(shift_px=8.0, scale_min=0.9, scale_max=1.1, rotate_degrees=10.0),
)


def few_samples(count: int) -> TrainingConfig:
    """Return the recipe "few" for `samples` samples: the number of steps, and so the time, does not depend on it."""
    recipe = RECIPES["few"]
    return dataclasses.replace(recipe, epochs=max(1.0, FEW_STEPS / max(1, count // min(recipe.batch, max(1, count)))))
