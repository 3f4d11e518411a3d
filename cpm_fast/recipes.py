"""How a network is trained: frozen dataclasses, and the recipes by name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cpm_fast.config import finite, whole

SCHEMES = ("joint", "stagewise", "stagewise_then_joint", "final_only")


@dataclass(frozen=True)
class AugmentationConfig:
    """Ranges of the random changes to a training sample; the defaults are the release's.

    Args:
        scale_min, scale_max: of the factor on the nominal magnification.
        rotate_degrees: rotation is uniform within plus and minus this.
        shift_px: the subject's center is moved by up to this on each axis, box pixels.
        flip_probability: of mirroring.
        center_px: the center that the network is told is off by up to this on each axis, box pixels.
        brightness: added to all pixels, uniform within plus and minus this share of 255.
        contrast, saturation: differences to the crop's mean, and to gray, are multiplied by 1 plus or minus up to this.
        occlude_probability: of a rectangle of one color over the crop; parts under it keep their labels.
        occlude_share: of the box's sides, at most, for the sides of the rectangle.
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

    def __post_init__(self) -> None:
        if not 0 < self.scale_min <= self.scale_max:
            raise ValueError(f"scale_min must be positive and at most scale_max, got {self.scale_min, self.scale_max}")
        if not 0 <= self.rotate_degrees <= 180 or self.shift_px < 0:
            raise ValueError(
                f"rotate_degrees must be 0 to 180, shift_px >= 0, got {self.rotate_degrees, self.shift_px}"
            )
        if not 0 <= self.center_px < math.inf:
            raise ValueError(f"center_px must be 0 or more, got {self.center_px}")
        for name in ("flip_probability", "brightness", "contrast", "saturation", "occlude_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if not 0 < self.occlude_share <= 1:
            raise ValueError(f"occlude_share must be above 0 and at most 1, got {self.occlude_share}")


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained. The defaults are the release's recipe ("paper").

    Args:
        optimizer: "sgd" (momentum 0.9, as released) or "adamw".
        learning_rate: of weights, before the factors below.
        schedule: "step": times `step_factor` every `step_epochs` epochs; "cosine": linear warm-up, then down to 0.
        step_factor, step_epochs: of the step schedule; 84 epochs are the release's 136,106 steps on MPII.
        warmup: share of all steps over which the cosine schedule warms up.
        stage1_factor: on the learning rate of stage 1 and its own trunk.
        stage_factors: on the learning rate of each stage on top of that, from the first; of stages beyond the list: 1.
        trunk_factor: on the learning rate of all trunks on top.
        bias_factor: on the learning rate of biases.
        weight_decay: on convolution weights only.
        clip_norm: largest norm of the whole gradient; 0: no limit.
        batch: samples a step, over all processes.
        accumulate: pieces of each process's share of a batch, one after the other, whose gradients add up: less memory
            for the same batch. Batch normalization and dropout see the pieces one by one.
        epochs: passes over the data.
        average: decay of the running average of the weights; with one, it is what is validated and kept as best and
            final. 0: none.
        scheme: of the stages (Wei et al. 2016, Figure 6b): "joint" from the start with a loss at every stage (as
            released), "stagewise" one after the other, "stagewise_then_joint", or "final_only": joint, with the loss of
            the last stage alone. Every phase has its own schedule.
        loss_mode: "zero": an unlabeled part is a map of zeros, as released; "mask": its map does not count.
        robust: for labels that may be wrong: a part's squared error counts less and less above this many times that of
            a missed part (Cauchy's loss, see `training.loss.stage_losses`). 0: Eq. 4 as it is.
        part_sigma: of the belief targets, box pixels.
        augmentation: the random changes.
        precision: "fp32"; "tf32": products on CUDA round their inputs to 10 bits; "bf16": the network runs under
            autocast, weights and losses stay fp32.
        seed: of weights, order, augmentation and dropout.
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
    augmentation: AugmentationConfig = AugmentationConfig()
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        def require(fine: bool, name: str, wanted: str) -> None:
            if not fine:
                raise ValueError(f"{name} must be {wanted}, got {getattr(self, name)}")

        require(self.optimizer in ("sgd", "adamw"), "optimizer", "'sgd' or 'adamw'")
        require(self.schedule in ("step", "cosine"), "schedule", "'step' or 'cosine'")
        require(self.loss_mode in ("zero", "mask"), "loss_mode", "'zero' or 'mask'")
        require(self.precision in ("fp32", "tf32", "bf16"), "precision", "'fp32', 'tf32' or 'bf16'")
        require(self.scheme in SCHEMES, "scheme", f"one of {list(SCHEMES)}")
        require(finite(self.average) and 0 <= self.average < 1, "average", "from 0 to below 1")
        factors = self.stage_factors
        require(all(finite(factor) and factor > 0 for factor in factors), "stage_factors", "positive numbers")
        rates = ("learning_rate", "step_factor", "stage1_factor", "trunk_factor", "bias_factor")
        for name in (*rates, "step_epochs", "epochs", "part_sigma"):
            require(finite(getattr(self, name)) and getattr(self, name) > 0, name, "a positive number")
        for name in ("weight_decay", "clip_norm", "robust"):
            require(finite(getattr(self, name)) and getattr(self, name) >= 0, name, "0 or more")
        require(finite(self.warmup) and 0 <= self.warmup < 1, "warmup", "from 0 to below 1")
        require(whole(self.batch) and self.batch >= 1, "batch", "a whole number of at least 1")
        require(whole(self.accumulate) and self.accumulate >= 1, "accumulate", "a whole number of at least 1")
        require(whole(self.seed) and self.seed >= 0, "seed", "a whole number, 0 or more")

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a field is unknown or out of its range.
        """
        given = dict(values)
        try:
            if "augmentation" in given:
                given["augmentation"] = AugmentationConfig(**given["augmentation"])
            if "stage_factors" in given:
                given["stage_factors"] = tuple(given["stage_factors"])
            return cls(**given)
        except TypeError as error:
            raise ValueError(f"training config is not of its form: {error}") from None


RECIPES = {
    "paper": TrainingConfig(),
    # The network on VGG-19: the factors of its released file, convolutions of later stages at four times the rate of
    # what came from ImageNet. The rest of its training was not released, and is that of the other networks.
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
