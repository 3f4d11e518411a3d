"""`cpm-fast eval`: scores of a network or a file of predictions: a table; with -o also numbers, curves and a report."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path

import numpy as np

from cpm_fast import weights
from cpm_fast.commands.options.evaluation import add_eval_options
from cpm_fast.data.image_names import MatchError
from cpm_fast.data.open import open_dataset
from cpm_fast.data.sample import Dataset, hold_out
from cpm_fast.evaluation.annotated import with_unsampled
from cpm_fast.evaluation.finding.whole_pictures import evaluate_finding
from cpm_fast.evaluation.network import Predictions, in_order, predict, score
from cpm_fast.evaluation.oks import AveragePrecision, ScoredSubjects, average_precision, precision_table
from cpm_fast.evaluation.outcome import Evaluation
from cpm_fast.evaluation.page import report_page
from cpm_fast.evaluation.predictions import evaluate_parts, predicted_subjects, read_predictions, read_truth
from cpm_fast.evaluation.rule import OBSERVER, PCK, Rule
from cpm_fast.inference.asking import AUTO, SEARCH, Asked
from cpm_fast.inference.settings import Settings
from cpm_fast.inference.unfinished import fingerprint
from cpm_fast.model.cpm import CPM
from cpm_fast.results.result import Result, Results
from cpm_fast.skeleton import BUILT_IN, Skeleton
from cpm_fast.system.files import atomic_write
from cpm_fast.system.output_folder import reserved
from cpm_fast.system.ranks import join, launched, main_process
from cpm_fast.training.inputs import annotation_digests

OKS = "oks"
WRITTEN, PREDICTIONS, FOUND = ("eval.json", "pck.png", "report.html"), "predictions.csv", "find.json"
# Options of a network's run, of a file of predictions, of true regions, which --find does not take, and of --find.
NETWORK_OPTIONS = ("model", "protocol", "pyramid", "flip", "precision")
FILE_OPTIONS = ("skeleton", "first_pixel")
TRUE_REGION_OPTIONS = ("predictions", "protocol", "centric")
FIND_OPTIONS = ("max_subjects", "min_find_score")


def eval_command(options: argparse.Namespace) -> bool:
    """Run the verb; return whether there is a score."""
    dataset = open_dataset(options.data)
    if options.last is not None and options.last < len(dataset):
        dataset = hold_out(dataset, options.last)[1]
    if options.metric == OKS and options.centric == OBSERVER:
        raise ValueError("--centric observer is for PCK: average precision takes left and right as they are annotated")
    metric = PCK if options.metric == OKS else options.metric
    rule = Rule(metric, options.reference, options.threshold, options.centric)
    finds = options.find is not None or options.finder is not None
    if not finds:
        _refuse(options, FIND_OPTIONS, "is for subjects that are looked for: give --find too")
    names = [FOUND] if finds else [*WRITTEN, *([PREDICTIONS] if options.predictions is None else [])]
    with reserved(options.output, names) if options.output is not None and main_process() else nullcontext():
        return (_score_finding if finds else _score)(options, dataset, rule)


def _score(options: argparse.Namespace, dataset: Dataset, rule: Rule) -> bool:
    return (_score_network if options.predictions is None else _score_file)(options, dataset, rule)


def _score_network(options: argparse.Namespace, dataset: Dataset, rule: Rule) -> bool:
    _refuse(options, FILE_OPTIONS, "says how a file of predictions is read: give --predictions too")
    pyramid = None if options.pyramid is None else tuple(options.pyramid)
    ranks = join()
    name = options.model or weights.DEFAULT
    model = _pose_network(name, ranks.device_of(options.device))
    if ranks.world > 1:
        asked = {f"--{option.replace('_', '-')}": value for option, value in vars(options).items() if option != "run"}
        inputs = {"number of samples": len(dataset), "annotations": annotation_digests([dataset])}
        ranks.agree({**asked, "weights": fingerprint(model), **inputs})
    mine = ranks.part(range(len(dataset)))
    found = predict(
        model,
        dataset,
        mine,
        protocol=options.protocol,
        pyramid=pyramid,
        flip=options.flip,
        batch=options.batch,
        precision=options.precision,
        progress=None if ranks.main else False,
    )
    everyone = ranks.gather(found)
    if not everyone:
        return True
    result = score(everyone, dataset, rule, name)
    print(result.table(sides=True))
    precision = _precision(result, dataset) if options.metric == OKS else []
    if options.output is not None:
        written = _write(options.output, result, precision, dataset, model)
        _save_predictions(in_order(everyone), dataset.skeleton, options.output / PREDICTIONS)
        print(f"wrote {', '.join(map(str, [*written, options.output / PREDICTIONS]))}")
    return math.isfinite(result.stages[-1].mean)


def _pose_network(name: str, device: str) -> CPM:
    """Load a network that locates parts.

    Raises:
        ValueError: it is a finder.
    """
    model = weights.load(name, device=device)
    if model.config.kind == "find":
        raise ValueError(
            f"{name}: must be a network that locates parts, got a finder; score it with cpm-fast eval --find --finder "
            f"{name}"
        )
    return model


def _score_finding(options: argparse.Namespace, dataset: Dataset, rule: Rule) -> bool:
    """Score whole pictures; True when there is a score."""
    why = "does not go with --find, which looks at whole pictures by a network"
    _refuse(options, (*FILE_OPTIONS, *TRUE_REGION_OPTIONS), why)
    if launched().world > 1:
        raise ValueError("--find is for one process: start it without torchrun")
    if options.finder is not None and options.find == SEARCH:
        raise ValueError("--finder must stand without the word search, got --find search beside it")
    name = options.model or weights.DEFAULT
    model = _pose_network(name, options.device)
    asked = options.finder or options.find
    looks = Asked(asked, False, options.max_subjects, options.min_find_score).of(model, options.precision)
    if looks is None:
        raise ValueError(f"{name}: names no finder; give one with --finder, or --find search")
    finder = "a search" if asked == SEARCH else model.config.finder if asked == AUTO else asked
    settings = Settings(options.pyramid or (1.0,), options.flip, options.batch, options.precision)
    result = evaluate_finding(
        model, looks, dataset, finder=finder, rule=rule, oks=options.metric == OKS or None, settings=settings
    )
    print(result.table())
    if options.output is not None:
        with atomic_write(options.output / FOUND) as file:
            limits = {name: getattr(options, name) for name in FIND_OPTIONS}
            file.write((json.dumps({**result.to_dict(), **limits}, indent=1) + "\n").encode())
        print(f"wrote {options.output / FOUND}")
    return True


def _score_file(options: argparse.Namespace, dataset: Dataset, rule: Rule) -> bool:
    _refuse(options, NETWORK_OPTIONS, "says how a network is run: it does not go with --predictions")
    path: Path = options.predictions
    order = None if options.skeleton is None else _skeleton(options.skeleton).names
    parts = read_predictions(path, dataset.skeleton, len(dataset), order=order, first_pixel=options.first_pixel)
    reader = read_truth(dataset)
    precision = []
    if options.metric == OKS:
        samples = ScoredSubjects(reader.images, reader.truth(), np.array(reader.areas))
        truth, images = with_unsampled(samples, dataset, reader.indices, reader.names, dataset.skeleton)
        found = predicted_subjects(parts, images, dataset.skeleton)
        precision = [average_precision(truth, found, dataset.skeleton, images)]
    try:
        result = evaluate_parts(parts, reader, source=path.name, rule=rule)
    except MatchError as error:
        if not precision:
            raise
        print(f"PCK is left out: {error}\n{precision_table(precision)}")
        return True
    print(result.table(sides=True))
    if precision:
        print(precision_table(precision))
    if options.output is not None:
        print(f"wrote {', '.join(map(str, _write(options.output, result, precision, dataset, None)))}")
    return math.isfinite(result.stages[-1].mean)


def _precision(result: Evaluation, dataset: Dataset) -> list[AveragePrecision]:
    """Return COCO's numbers of every stage; a subject's score is the mean over its parts."""
    samples = ScoredSubjects(result.images, result.truth, result.areas_image)
    truth, images = with_unsampled(samples, dataset, result.indices.tolist(), result.samples, result.skeleton)
    stages = [
        average_precision(truth, ScoredSubjects(result.images, stage, heights.mean(axis=1)), result.skeleton, images)
        for stage, heights in zip(result.predictions, result.heights, strict=True)
    ]
    print(precision_table(stages))
    return stages


def _write(
    folder: Path, result: Evaluation, precision: Sequence[AveragePrecision], dataset: Dataset, model: CPM | None
) -> list[Path]:
    """Write numbers, curve and report; return their paths."""
    numbers = result.to_dict()
    if precision:
        numbers["average_precision"] = [
            {name: None if math.isnan(value) else value for name, value in stage.numbers.items()} for stage in precision
        ]
    paths = [folder / name for name in WRITTEN]
    with atomic_write(paths[0]) as file:
        file.write(json.dumps(numbers, indent=1).encode())
    result.save_curve(paths[1])
    extra = [precision_table(precision)] if precision else []
    with atomic_write(paths[2]) as file:
        file.write(report_page(result, dataset, model, extra))
    return paths


def _save_predictions(found: Predictions, skeleton: Skeleton, path: Path) -> None:
    """Write the last stage as a table of results, which --predictions reads again."""
    parts = skeleton.only([skeleton.names[i] for i in found.scored])
    results = []
    for name, rows in groupby(range(len(found.names)), key=lambda row: found.names[row]):
        chosen = list(rows)
        points = found.predicted[-1, chosen][:, found.scored].astype(np.float32)
        heights = found.heights[-1, chosen][:, found.scored].astype(np.float32)
        results.append(Result(points, heights, parts, name))
    Results(results).save(path)


def _refuse(options: argparse.Namespace, names: Sequence[str], why: str) -> None:
    """Refuse options that do not have their default."""
    parser = argparse.ArgumentParser()
    add_eval_options(parser)
    for name in names:
        if getattr(options, name) != parser.get_default(name):
            raise ValueError(f"--{name.replace('_', '-')} {why}")


def _skeleton(name: str) -> Skeleton:
    return BUILT_IN.get(name) or Skeleton.from_toml(name)
