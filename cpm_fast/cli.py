"""cpm-fast: demo, infer, train, eval, data and doctor on the command line."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

FINE, BAD_RESULT, BAD_USE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0: fine, 1: a result is bad or missing, 2: used wrongly."""
    options = make_parser().parse_args(arguments)
    warnings.showwarning = lambda message, *_args, **_kwargs: print(f"warning: {message}", file=sys.stderr)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        return BAD_RESULT
    except (ValueError, TypeError, OSError) as error:
        print(f"cpm-fast {options.verb}: {error}", file=sys.stderr)
        return BAD_USE
    except RuntimeError as error:
        print(f"cpm-fast {options.verb}: {error}", file=sys.stderr)
        return BAD_RESULT


def make_parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    parser = argparse.ArgumentParser(prog="cpm-fast", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    demo = _verb(verbs, "demo", _demo, "poses of drawn figures, whose truth is known: pictures and a PCK table")
    demo.add_argument("-o", "--output", type=Path, default=Path("runs/demo"), help="folder to write (%(default)s)")
    demo.add_argument("--figures", type=int, default=200, help="how many figures are scored (%(default)s)")

    infer = _verb(verbs, "infer", _infer, "poses in pictures, a video or a camera")
    infer.add_argument("pictures", nargs="*", type=Path, help="picture files, one folder of them, or one video")
    infer.add_argument("--camera", type=int, metavar="N", help="a camera by its number, 0 is the first; Ctrl-C ends it")
    infer.add_argument("-o", "--output", type=Path, default=Path("runs/infer"), help="folder to write (%(default)s)")
    infer.add_argument("--resume", action="store_true", help="go on with a folder or video that was interrupted")
    infer.add_argument("--model", help="weights: a .safetensors file or a bundled name (default: bundled)")
    infer.add_argument("--box", nargs=4, type=float, action="append", metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"),
                       help="a subject's box in pixels of the one picture, or of a video's first frame; may be "
                       "repeated")  # fmt: skip
    infer.add_argument("--form", choices=("json", "csv", "npz", "coco", "openpose"),
                       help="of the results (default: json; of a video always csv)")  # fmt: skip
    infer.add_argument("--no-pictures", action="store_true", help="write no pictures or video with the poses drawn in")
    infer.add_argument("--stages", action="store_true", help="also write the belief maps stage by stage as pictures")
    infer.add_argument("--smooth", action="store_true", help="smooth the poses of a video over time (one-euro filter)")
    infer.add_argument("--frames", type=int, metavar="N", help="stop after N frames of a video or camera")
    infer.add_argument("--readers", type=int, default=0, metavar="N",
                       help="threads that read the next pictures while the network runs (%(default)s)")  # fmt: skip
    _test_options(infer)

    train = _verb(verbs, "train", _train, "train a network; everything goes into the run folder")
    train.add_argument("--data", action="append", metavar="DATA",
                       help="synthetic[:COUNT[:SEED]], a folder of LSP or LSP-extended, or a CSV file of one's own; "
                       "may be repeated (default: synthetic)")  # fmt: skip
    train.add_argument("--hold-out", action="append", type=int, metavar="N",
                       help="the last N samples of a --data are for validation, one for each --data, in order "
                       "(default: 5 %% of each, at most 500)")  # fmt: skip
    train.add_argument("--preset", default="compact", help="the network: compact, cpm6 or flic (%(default)s)")
    train.add_argument("--recipe", default="modern", help="modern, or paper: as released (%(default)s)")
    train.add_argument("--epochs", type=float, help="passes over the data (default: the recipe's)")
    train.add_argument("--batch", type=int, help="samples a step (default: the recipe's)")
    train.add_argument("--learning-rate", type=float, help="default: the recipe's")
    train.add_argument("--loss", choices=("mask", "zero"), help="unlabelled parts: left out of the loss, or maps of "
                       "zeros as released (default: the recipe's)")  # fmt: skip
    train.add_argument(
        "--scale", nargs=2, type=float, metavar=("MIN", "MAX"), help="range of random magnification (default: 0.7 1.3)"
    )
    train.add_argument("--rotate", type=float, metavar="DEGREES", help="largest random rotation (default: 40)")
    train.add_argument("--precision", choices=("fp32", "tf32", "bf16"), help="of products (default: fp32)")
    train.add_argument("--seed", type=int, help="of weights, order and augmentation (default: 0)")
    train.add_argument("--workers", type=int, help="loader processes (default: one a core, at most 8)")
    train.add_argument("--save-every", type=int, default=500, help="steps between checkpoints (%(default)s)")
    train.add_argument("--validate-every", type=float, default=1.0, help="epochs between validations (%(default)s)")
    train.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")
    where = train.add_mutually_exclusive_group()
    where.add_argument("-o", "--output", type=Path, help="run folder (default: runs/PRESET)")
    where.add_argument("--resume", type=Path, metavar="RUN", help="go on with a run; all else comes from its config")

    evaluate = _verb(verbs, "eval", _eval, "PCK of a network on annotated pictures: a table, one row a stage")
    evaluate.add_argument("--data", required=True, help="as for train")
    evaluate.add_argument("--last", type=int, metavar="N", help="score only the last N samples")
    evaluate.add_argument("--model", help="weights: a .safetensors file or a bundled name (default: bundled)")
    evaluate.add_argument("--protocol", choices=("crop", "lsp"), default="crop",
                          help="crop: scale by the truth's limbs, as in training; lsp: the LSP test protocol, image "
                          "height to 294.4 px of 368 and pyramid 0.7 to 1.3 by 0.1 (%(default)s)")  # fmt: skip
    evaluate.add_argument("-o", "--output", type=Path, help="folder for eval.json and pck.png (default: print only)")
    _test_options(evaluate)

    data = verbs.add_parser("data", help="check annotated pictures", allow_abbrev=False,
                            description="what is odd about annotated pictures")  # fmt: skip
    check = _verb(data.add_subparsers(dest="action", required=True, metavar="ACTION"), "check", _check,
                  "read every sample: what is missing, outside, swapped or there twice; nine are drawn")  # fmt: skip
    check.add_argument("data", nargs="+", help="as for train")
    check.add_argument("-o", "--output", type=Path, default=Path("runs/check"), help="folder to write (%(default)s)")

    _verb(verbs, "doctor", _doctor, "what is installed, which fast paths are live, and if not, why and what to type")
    return parser


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    purpose: str,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=purpose, description=purpose, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _test_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pyramid", nargs="+", type=float, metavar="FACTOR", help="magnifications that are averaged")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored picture")
    parser.add_argument("--batch", type=int, default=16, help="crops a forward pass (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")


def _demo(options: argparse.Namespace) -> int:
    from cpm_fast.demo import run_demo

    return FINE if run_demo(options.output, options.figures) else BAD_RESULT


def _infer(options: argparse.Namespace) -> int:
    from cpm_fast.infer_command import infer_pictures
    from cpm_fast.video_command import infer_video, is_video

    return FINE if (infer_video if is_video(options) else infer_pictures)(options) else BAD_RESULT


def _train(options: argparse.Namespace) -> int:
    from cpm_fast.training.command import train_command

    return FINE if train_command(options) else BAD_RESULT


def _eval(options: argparse.Namespace) -> int:
    from cpm_fast.data.open import open_dataset
    from cpm_fast.data.sample import hold_out
    from cpm_fast.evaluation import predict, score
    from cpm_fast.files import atomic_write
    from cpm_fast.shards import sharded
    from cpm_fast.weights import DEFAULT, load

    dataset = open_dataset(options.data)
    if options.last is not None and options.last < len(dataset):
        dataset = hold_out(dataset, options.last)[1]
    pyramid = None if options.pyramid is None else tuple(options.pyramid)
    with sharded() as shard:
        model = load(options.model or DEFAULT, device=shard.device(options.device))
        mine = shard.part(range(len(dataset)))
        found = predict(model, dataset, mine, protocol=options.protocol, pyramid=pyramid, flip=options.flip,
                        batch=options.batch, progress=None if shard.first else False)  # fmt: skip
        everyone = shard.gather(found)
    if not everyone:
        return FINE
    result = score(everyone, dataset)
    print(result.table())
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        with atomic_write(options.output / "eval.json") as file:
            file.write(json.dumps(result.to_dict(), indent=1).encode())
        result.save_curve(options.output / "pck.png")
        print(f"wrote {options.output / 'eval.json'}, {options.output / 'pck.png'}")
    return FINE


def _check(options: argparse.Namespace) -> int:
    from cpm_fast.data.command import check_data

    return FINE if check_data(options) else BAD_RESULT


def _doctor(_options: argparse.Namespace) -> int:
    from cpm_fast.doctor import report

    found = report()
    print(found)
    return FINE if found.ok else BAD_RESULT


if __name__ == "__main__":
    sys.exit(main())
