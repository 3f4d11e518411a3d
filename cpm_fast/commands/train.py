"""`cpm-fast train`: a run from options, or resumed from its config."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.config import NetworkConfig, preset, widened
from cpm_fast.data.open import DRAWN, open_dataset
from cpm_fast.data.sample import Dataset, Subset, hold_out
from cpm_fast.data.scenes.backgrounds import Backgrounds
from cpm_fast.data.subjects import Subjects
from cpm_fast.model.layers import mac_count, parameter_count
from cpm_fast.recipes import RECIPES, TrainingConfig, few_samples
from cpm_fast.skeleton import BUILT_IN, Skeleton
from cpm_fast.system.files import VALUE_ERRORS, parse_json
from cpm_fast.system.limits import LARGEST_BYTES, check_file
from cpm_fast.system.ranks import main_process
from cpm_fast.system.words import in_short, meant
from cpm_fast.training.folder import BEST_FILE, CONFIG_FILE, FINAL_FILE, START_FILE
from cpm_fast.training.loop import train
from cpm_fast.training.options import RunOptions
from cpm_fast.weights import weights_file

HELD_OUT_SHARE, HELD_OUT_MOST = 0.05, 500
DEFAULT_PRESET, DEFAULT_RECIPE = "compact", "modern"
# The most samples for which a run of these presets starts from these weights by the recipe "few".
FEW_SAMPLES, FEW_STARTS, FEW_VALIDATIONS = 500, {"compact": "compact-lsp", "base": "base-lsp"}, 2
FIND_PRESET, FIND_RECIPE = "finder", "find"


@dataclass(frozen=True)
class _RunConfig:
    """The content of a run's config.json.

    Args:
        network, config: the network and the training.
        data: words or paths of the datasets.
        hold_out: number of samples of each that are for validation; None: the usual share.
        options: of its execution, so that it is resumed in the same way.
        start: weights to start from.
        backgrounds: a folder of pictures without subjects, for a finder.
    """

    network: NetworkConfig
    config: TrainingConfig
    data: list[str]
    hold_out: list[int] | None
    options: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
    backgrounds: str | None = None


def train_command(options: argparse.Namespace) -> bool:
    """Start or resume a run; return whether it came to its end."""
    main = main_process()
    folder: Path = options.resume or options.output or Path("runs") / (FIND_PRESET if options.find else options.preset)
    if options.resume:
        run = _read_config(folder)
        _check_same(options, run, folder)
    else:
        run = _new_run(options)
    datasets = [open_dataset(spec) for spec in run.data]
    for spec, dataset in zip(run.data, datasets, strict=True):
        _check_labels(spec, dataset)
    counts = _hold_out_counts(datasets, run.hold_out)
    parts = [hold_out(dataset, count) for dataset, count in zip(datasets, counts, strict=True)]
    if main:
        _describe(run.network, datasets, parts, folder)
    given = {
        "save_every": options.save_every,
        "validate_every": options.validate_every,
        "recompute": options.recompute or None,
    }
    train(
        run.network,
        run.config,
        [training for training, _ in parts],
        [validation for _, validation in parts if len(validation)],
        folder,
        resume=bool(options.resume),
        options=RunOptions(workers=options.workers, device=options.device, **_changed(run.options, given)),
        about={"data": run.data, "hold_out": counts, "start": run.start, "backgrounds": run.backgrounds},
        start=run.start,
        backgrounds=None if run.backgrounds is None else Backgrounds.of_folder(run.backgrounds),
    )
    if main:
        if run.start and not options.resume:
            print((folder / START_FILE).read_text(encoding="utf-8"), end="")
        print(f"wrote {folder / FINAL_FILE}")
    return True


def _describe(
    network: NetworkConfig, datasets: list[Dataset], parts: list[tuple[Subset, Subset]], folder: Path
) -> None:
    print(
        f"network   {network.stages} stages, {network.parts} parts, box {network.input_size}, "
        f"{parameter_count(network):,} parameters, {mac_count(network) / 1e9:.2f} GMAC per image"
    )
    for dataset, (training, validation) in zip(datasets, parts, strict=True):
        print(f"data      {dataset.name}: {len(training)} to train on, {len(validation)} held out")
    print(f"mirroring {network.skeleton.mirroring}")
    print(f"run       {folder}", flush=True)


def _changed(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return values, replaced by those that were given on the command line."""
    return {**values, **{name: value for name, value in given.items() if value is not None}}


def _new_run(options: argparse.Namespace) -> _RunConfig:
    specs = options.data or ["synthetic"]
    if options.find and options.preset == DEFAULT_PRESET:
        options.preset = FIND_PRESET
    finds = preset(options.preset).kind == "find"
    if options.find and not finds:
        raise ValueError(f"--find must go with the preset {FIND_PRESET}, got --preset {options.preset}")
    few = 0 if finds else _few(options, specs)
    default = FIND_RECIPE if finds else DEFAULT_RECIPE
    recipe = few_samples(few) if few else _recipe(options.recipe or default)
    if few and options.width is not None:
        # Layers that grow from the bundled ones must learn.
        recipe = replace(recipe, frozen_blocks=0)
    config = _training_config(options, recipe)
    skeleton = _skeleton(options.skeleton) if options.skeleton else open_dataset(specs[0]).skeleton
    init = FEW_STARTS[options.preset] if few else options.init
    start = None if init is None else str(weights_file(init))
    if few and main_process():
        print(
            f"few samples: the recipe few ({config.epochs:g} epochs), starting from {init}; --recipe or --init "
            "choose otherwise"
        )
    network = _network(options, skeleton)
    kept = {"validate_every": max(1.0, config.epochs / FEW_VALIDATIONS)} if few else {}
    if options.backgrounds and not finds:
        raise ValueError(f"--backgrounds must go with --find, got {options.backgrounds} for a pose network")
    backgrounds = None if options.backgrounds is None else str(options.backgrounds)
    return _RunConfig(network, config, specs, options.hold_out, kept, start, backgrounds)


def _network(options: argparse.Namespace, skeleton: Skeleton) -> NetworkConfig:
    network = preset(options.preset, skeleton)
    if options.width is not None:
        network = widened(network, options.width)
    if options.stages is not None:
        network = replace(network, stages=options.stages)
    if options.input_size is not None:
        network = replace(network, input_size=tuple(options.input_size))
    return network


def _check_same(options: argparse.Namespace, run: _RunConfig, folder: Path) -> None:
    """Raise ValueError if options beside --resume ask for another run than the folder's, which would ignore them."""
    recipe = run.config if options.recipe is None else _recipe(options.recipe)
    asked, there = _training_config(options, recipe).to_dict(), run.config.to_dict()
    asked |= asked.pop("augmentation")
    there |= there.pop("augmentation")
    differing = [f"{name} {value}, not {asked[name]}" for name, value in there.items() if asked[name] != value]
    for name, given, kept in (
        ("data", options.data, run.data),
        ("hold_out", options.hold_out, run.hold_out),
        ("backgrounds", options.backgrounds and str(options.backgrounds), run.backgrounds),
        ("init", options.init and str(weights_file(options.init)), run.start),
    ):
        if given is not None and given != kept:
            differing.append(f"{name} {kept}, not {given}")
    if options.find and run.network.kind != "find":
        differing.append("no finder")
    shape = (options.width, options.stages, options.input_size, options.skeleton)
    if options.preset != DEFAULT_PRESET or any(value is not None for value in shape):
        skeleton = _skeleton(options.skeleton) if options.skeleton else run.network.skeleton
        if _network(options, skeleton) != run.network:
            differing.append("another network")
    if differing:
        raise ValueError(
            f"--resume continues the run of {folder / CONFIG_FILE}, which has {'; '.join(differing)}: leave these "
            f"options out, or start a new run from its weights with --init {folder / BEST_FILE}"
        )


def _few(options: argparse.Namespace, specs: list[str]) -> int:
    """Return the number of training samples if they are few and the defaults hold; otherwise 0."""
    start = FEW_STARTS.get(options.preset)
    chosen = start is None or options.recipe is not None or options.init not in (None, start)
    if chosen or any(spec.partition(":")[0] in DRAWN for spec in specs):
        return 0
    datasets = [open_dataset(spec) for spec in specs]
    counts = _hold_out_counts(datasets, options.hold_out)
    total = sum(len(dataset) - count for dataset, count in zip(datasets, counts, strict=True))
    return total if total <= FEW_SAMPLES else 0


def _check_labels(spec: str, dataset: Dataset) -> None:
    """Refuse a dataset in which no part is labeled, such as a table of results that were all below --min-score."""
    if isinstance(dataset, Subjects) and not any(np.isfinite(one.parts_image).any() for one in dataset.subjects):
        raise ValueError(f"{spec}: must have labeled parts, got {len(dataset)} samples without any")


def _skeleton(word: str) -> Skeleton:
    if word in BUILT_IN:
        return BUILT_IN[word]
    if not Path(word).is_file():
        raise FileNotFoundError(
            f"{word}: skeleton must be one of {sorted(BUILT_IN)} or a .toml file{meant(word, BUILT_IN)}"
        )
    return Skeleton.from_toml(word)


def _training_config(options: argparse.Namespace, recipe: TrainingConfig) -> TrainingConfig:
    same = ("epochs", "batch", "accumulate", "learning_rate", "precision", "average", "robust", "scheme", "seed")
    given = {field: getattr(options, field) for field in same} | {"loss_mode": options.loss}
    low, high = options.scale or (None, None)
    changes = {
        "scale_min": low,
        "scale_max": high,
        "rotate_degrees": options.rotate,
        "flip_probability": options.mirror,
        "center_px": options.center_error,
        "occlude_probability": options.occlude,
        **dict.fromkeys(("brightness", "contrast", "saturation"), options.color),
    }
    augmentation = replace(recipe.augmentation, **_changed({}, changes))
    return replace(recipe, augmentation=augmentation, **_changed({}, given))


def _recipe(word: str) -> TrainingConfig:
    if word in RECIPES:
        return RECIPES[word]
    path = Path(word)
    if path.suffix != ".json":
        raise ValueError(
            f"recipe must be one of {sorted(RECIPES)}, or a .json file, got {word!r}{meant(word, RECIPES)}"
        )
    check_file(path, LARGEST_BYTES)
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"must be a table of fields, got {values!r:.80}")
        fields = dict(values.get("training", values))
        base = fields.pop("recipe", DEFAULT_RECIPE)
        if not isinstance(base, str) or base not in RECIPES:
            raise ValueError(f"recipe must be one of {sorted(RECIPES)}, got {base!r:.60}{meant(str(base), RECIPES)}")
        return RECIPES[base].changed(fields)
    except VALUE_ERRORS as error:
        raise ValueError(f"{path}: not a recipe: {in_short(error)}") from None


def _hold_out_counts(datasets: list[Dataset], counts: list[int] | None) -> list[int]:
    if counts is None:
        return [min(HELD_OUT_MOST, int(HELD_OUT_SHARE * len(dataset))) for dataset in datasets]
    if len(counts) != len(datasets):
        raise ValueError(f"--hold-out must be given once for each --data ({len(datasets)}), got {len(counts)}")
    return counts


def _read_config(folder: Path) -> _RunConfig:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; --resume takes the folder of a run")
    try:
        values: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        kept = values.get("options", {})
        RunOptions(**kept)
        return _RunConfig(
            NetworkConfig.from_dict(values["network"]),
            TrainingConfig.from_dict(values["training"]),
            [str(spec) for spec in values["data"]],
            [int(count) for count in values["hold_out"]],
            kept,
            values.get("start"),
            values.get("backgrounds"),
        )
    except VALUE_ERRORS as error:
        raise ValueError(f"{path}: not the config of a run: {in_short(error)}") from None
