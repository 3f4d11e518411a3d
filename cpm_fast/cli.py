"""The command cpm-fast: infer, train, eval, frames, label, suggest, and the other verbs."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from cpm_fast import __version__
from cpm_fast.commands.options.common import add_loudness_options
from cpm_fast.commands.options.data import add_check_options, add_convert_options
from cpm_fast.commands.options.early import check_paths, expand_patterns
from cpm_fast.commands.options.evaluation import add_eval_options
from cpm_fast.commands.options.inference import add_infer_options
from cpm_fast.commands.options.labeling import (
    add_frames_options,
    add_label_options,
    add_new_options,
    add_suggest_options,
)
from cpm_fast.commands.options.loudness import let_go_of_output, loudness
from cpm_fast.commands.options.parser import Parser
from cpm_fast.commands.options.training import add_train_options
from cpm_fast.commands.options.weights import add_export_options, add_import_options
from cpm_fast.system.interrupt import Terminated, terminations_raised

# TERMINATED is what shells show for a program that SIGTERM ended.
FINE, BAD_RESULT, BAD_USE, TERMINATED = 0, 1, 2, 143
# Number of times that an idle PyTorch thread looks for work before it sleeps; the default is 300,000. Spinning threads
# take processors from the engine's: benchmarks/studies/waiting.py measures the cost.
SPINS = "1000"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0: fine, 1: a result is bad or missing, 2: used wrongly, 143: ended by SIGTERM, saved."""
    _let_idle_threads_sleep()
    parser = make_parser()
    options = parser.parse_args(arguments)
    with warnings.catch_warnings(), loudness(options), terminations_raised():
        # Pillow's remarks on broken EXIF and TIFF tags name no file, and come at each look; damaged pixels are reported
        # by our readers. The orientation, the only tag that is used, is OpenCV's to read.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")
        warnings.showwarning = lambda message, *_args, **_kwargs: print(f"warning: {message}", file=sys.stderr)
        try:
            if options.verb == "train" and options.project is not None:
                from cpm_fast.commands.project import train_arguments

                # Given options come last, so that they win over the project's.
                verb, *given = sys.argv[1:] if arguments is None else arguments
                options = parser.parse_args([verb, *train_arguments(options), *given], repeats=True)
            found = int(options.run(options))
            # A closed output pipe is noticed here, not when Python ends.
            sys.stdout.flush()
            return found
        except Terminated:
            return TERMINATED
        except KeyboardInterrupt:
            return BAD_RESULT
        except BrokenPipeError:
            let_go_of_output()
            return BAD_RESULT
        except (ValueError, TypeError, OSError) as error:
            return _print_error(options, error, BAD_USE)
        except RuntimeError as error:
            return _print_error(options, error, BAD_RESULT)


def _let_idle_threads_sleep() -> None:
    """Set the waiting of PyTorch's threads, before torch is imported, unless the user has set it."""
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def _print_error(options: argparse.Namespace, error: Exception, code: int) -> int:
    print(f"cpm-fast {options.verb}: {error}", file=sys.stderr)
    if options.verbose:
        traceback.print_exception(error)
    return code


def make_parser() -> Parser:
    """Build the parser of all verbs and their options."""
    parser = Parser(prog="cpm-fast", description=__doc__)
    parser.add_argument("--version", action="version", version=f"cpm_fast {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    demo = _verb(verbs, "demo", _demo, "locate drawn figures, whose true parts are known: pictures and a PCK table")
    demo.add_argument("-o", "--output", type=Path, default=Path("runs/demo"), help="folder to write (%(default)s)")
    demo.add_argument("--figures", type=int, default=200, help="number of figures to score (%(default)s)")

    infer = _verb(verbs, "infer", _infer, "poses in pictures, a video or a camera")
    add_infer_options(infer)

    train = _verb(verbs, "train", _train, "train a network; everything goes into the run folder")
    add_train_options(train)

    evaluate = _verb(
        verbs,
        "eval",
        _eval,
        "score a network, or a file of predictions, on annotated pictures: PCK, "
        "PCKh, the FLIC rule or COCO's average precision, one row per stage",
    )
    add_eval_options(evaluate)

    importer = _verb(verbs, "import", _import, "convert weights of Caffe or mmpose to a .safetensors file")
    add_import_options(importer)

    export = _verb(verbs, "export", _export, "write a network for other runtimes, after comparing it with PyTorch")
    add_export_options(export)

    _add_data_verb(verbs)

    frames = _verb(verbs, "frames", _frames, "extract frames worth labeling from videos, as PNG files with a manifest")
    add_frames_options(frames)

    label = _verb(
        verbs,
        "label",
        _label,
        "label the pictures of a folder, or correct the predictions of a network, in this machine's browser",
    )
    add_label_options(label)

    suggest = _verb(
        verbs,
        "suggest",
        _suggest,
        "rank the pictures without labels by how much a network would learn from them: a table and a contact sheet",
    )
    add_suggest_options(suggest)

    _add_project_verb(verbs)

    compare = _verb(verbs, "compare", _compare, "compare runs: differing settings, scores, curves")
    compare.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs, two or more")
    compare.add_argument(
        "-o", "--output", type=Path, default=Path("runs/compare"), help="folder to write (%(default)s)"
    )

    _verb(verbs, "doctor", _doctor, "check the installation: versions, live fast paths, and commands for missing ones")
    return parser


def _add_data_verb(verbs: argparse._SubParsersAction[Parser]) -> None:
    data = verbs.add_parser(
        "data",
        help="check or convert annotated pictures",
        allow_abbrev=False,
        description="check or convert annotated pictures",
    )
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = _verb(
        actions,
        "check",
        _check,
        "read every sample, report missing, outlying, swapped and duplicate ones, and draw nine",
    )
    add_check_options(check)

    convert = _verb(
        actions,
        "convert",
        _convert,
        "convert labels of SLEAP, DeepLabCut, COCO and others to a folder for cpm-fast label, or from it",
    )
    add_convert_options(convert)


def _add_project_verb(verbs: argparse._SubParsersAction[Parser]) -> None:
    project = verbs.add_parser(
        "project",
        help="a folder that frames, label, suggest and train share",
        description="a folder that frames, label, suggest and train share",
        allow_abbrev=False,
    )
    actions = project.add_subparsers(dest="action", required=True, metavar="ACTION")
    new = _verb(actions, "new", _project_new, "make a project's folder")
    add_new_options(new)

    show = _verb(actions, "show", _project_show, "print a project's content, and the next step")
    show.add_argument("folder", type=Path, help="of the project")


def _verb(
    verbs: argparse._SubParsersAction[Parser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    purpose: str,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=purpose, description=purpose, allow_abbrev=False)
    parser.set_defaults(run=run)
    add_loudness_options(parser)
    return parser


def _demo(options: argparse.Namespace) -> int:
    from cpm_fast.commands.demo import run_demo

    return FINE if run_demo(options.output, options.figures) else BAD_RESULT


def _infer(options: argparse.Namespace) -> int:
    options.pictures = expand_patterns(options.pictures)
    check_paths(options)
    from cpm_fast.commands.inference.images import infer_pictures
    from cpm_fast.commands.inference.inputs import inputs_of
    from cpm_fast.commands.inference.video import infer_videos

    inputs = inputs_of(options)
    fine = infer_videos(options, inputs.videos) if inputs.videos else infer_pictures(options, inputs)
    return FINE if fine else BAD_RESULT


def _train(options: argparse.Namespace) -> int:
    check_paths(options)
    from cpm_fast.commands.train import train_command

    return FINE if train_command(options) else BAD_RESULT


def _eval(options: argparse.Namespace) -> int:
    check_paths(options)
    from cpm_fast.commands.eval import eval_command

    return FINE if eval_command(options) else BAD_RESULT


def _import(options: argparse.Namespace) -> int:
    from cpm_fast.skeleton import BUILT_IN, Skeleton
    from cpm_fast.weights.importers.importing import import_weights

    name = options.skeleton
    skeleton = None if name is None else BUILT_IN.get(name) or Skeleton.from_toml(name)
    size = None if options.input_size is None else tuple(options.input_size)
    report = import_weights(
        options.file,
        options.output,
        preset=options.preset,
        skeleton=skeleton,
        input_size=size,
        fold_norm=options.fold_norm,
    )
    print(report)
    return FINE if report.ok else BAD_RESULT


def _export(options: argparse.Namespace) -> int:
    check_paths(options)
    from cpm_fast.weights import load
    from cpm_fast.weights.exporters.exporting import export_model

    model = load(options.model, device="cpu")
    agreement = export_model(model, options.output, decode=options.decode, opset=options.opset, half=options.fp16)
    print(f"check     {agreement}")
    print(f"wrote {options.output}")
    return FINE


def _check(options: argparse.Namespace) -> int:
    from cpm_fast.commands.data import check_data

    return FINE if check_data(options) else BAD_RESULT


def _convert(options: argparse.Namespace) -> int:
    from cpm_fast.commands.convert import run

    return FINE if run(options) else BAD_RESULT


def _frames(options: argparse.Namespace) -> int:
    from cpm_fast.commands.frames import run

    return FINE if run(options) else BAD_RESULT


def _label(options: argparse.Namespace) -> int:
    from cpm_fast.commands.label import run

    return FINE if run(options) else BAD_RESULT


def _suggest(options: argparse.Namespace) -> int:
    from cpm_fast.commands.suggest import run

    return FINE if run(options) else BAD_RESULT


def _project_new(options: argparse.Namespace) -> int:
    from cpm_fast.commands.project import new

    return FINE if new(options) else BAD_RESULT


def _project_show(options: argparse.Namespace) -> int:
    from cpm_fast.commands.project import show

    return FINE if show(options) else BAD_RESULT


def _compare(options: argparse.Namespace) -> int:
    from cpm_fast.commands.compare import compare_command

    return FINE if compare_command(options) else BAD_RESULT


def _doctor(_options: argparse.Namespace) -> int:
    from cpm_fast.commands.doctor import report

    found = report()
    print(found)
    return FINE if found.ok else BAD_RESULT


if __name__ == "__main__":
    sys.exit(main())
