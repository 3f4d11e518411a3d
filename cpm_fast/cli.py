"""cpm-fast: infer, train, eval, frames, label, suggest, and the other verbs on the command line."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

FINE, BAD_RESULT, BAD_USE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0: fine, 1: a result is bad or missing, 2: used wrongly."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_args, **_kwargs: print(f"warning: {message}", file=sys.stderr)
        try:
            if options.verb == "train" and options.project is not None:
                from cpm_fast.commands.project import train_arguments

                # Given options come last, so that they win over the project's.
                verb, *given = sys.argv[1:] if arguments is None else arguments
                options = parser.parse_args([verb, *train_arguments(options), *given])
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
    infer.add_argument("--overwrite", action="store_true", help="replace files of an earlier run even if they were "
                       "changed since; files that cpm-fast did not write are never replaced")  # fmt: skip
    infer.add_argument("--model", help="weights: a .safetensors file or a bundled name (default: bundled)")
    infer.add_argument("--box", nargs=4, type=float, action="append", metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"),
                       help="a subject's box in pixels of the one picture, or of a video's first frame; may be "
                       "repeated")  # fmt: skip
    infer.add_argument("--find", choices=("auto", "search"), default="auto", help="who is where in pictures without "
                       "--box: search looks for subjects of all sizes; auto takes each picture as one subject, seen "
                       "whole (%(default)s)")  # fmt: skip
    infer.add_argument("--max-subjects", type=int, metavar="N", help="with --find search: the most per picture, the "
                       "surest first")  # fmt: skip
    infer.add_argument("--min-find-score", type=float, metavar="SCORE", help="with --find search: the least mean peak "
                       "of a subject (default: 0.3)")  # fmt: skip
    infer.add_argument("--form", choices=("json", "csv", "npz", "coco", "openpose"),
                       help="of the results (default: json; of a video always csv)")  # fmt: skip
    infer.add_argument("--no-pictures", action="store_true", help="write no pictures or video with the poses drawn in")
    infer.add_argument("--stages", action="store_true", help="also write the belief maps stage by stage as pictures")
    infer.add_argument("--smooth", action="store_true", help="smooth the poses of a video over time (one-euro filter)")
    infer.add_argument("--frames", type=int, metavar="N", help="stop after N frames of a video or camera")
    infer.add_argument("--tune", action="store_true", help="measure what is fastest on this CPU, and keep that for the "
                       "next time: for many pictures")  # fmt: skip
    infer.add_argument("--readers", type=int, default=0, metavar="N",
                       help="threads that read the next pictures while the network runs (%(default)s)")  # fmt: skip
    _test_options(infer)

    train = _verb(verbs, "train", _train, "train a network; everything goes into the run folder")
    train.add_argument("--data", action="append", metavar="DATA",
                       help="synthetic[:COUNT[:SEED]], or a file or folder of LSP, MPII, FLIC, COCO, DeepLabCut, "
                       "DeepPoseKit or of one's own CSV; may be repeated (default: synthetic)")  # fmt: skip
    train.add_argument("--project", type=Path, help="a folder with a project.toml (see cpm-fast project): its labels "
                       "are the --data, its next runs/train-N the --output, and its [train] has options")  # fmt: skip
    train.add_argument("--hold-out", action="append", type=int, metavar="N",
                       help="the last N samples of a --data are for validation, one for each --data, in order "
                       "(default: 5 %% of each, at most 500)")  # fmt: skip
    train.add_argument("--preset", default="compact", help="the network: compact, cpm6, flic, vgg or mmpose "
                       "(%(default)s)")  # fmt: skip
    train.add_argument("--input-size", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"),
                       help="the network's box in pixels, multiples of 8: larger locates finer and takes longer "
                       "(default: the preset's)")  # fmt: skip
    train.add_argument("--width", type=float, metavar="FACTOR", help="so many times the preset's channels, rounded up "
                       "to multiples of 16: finds more where there is much to learn from, takes longer")  # fmt: skip
    train.add_argument("--stages", type=int, metavar="T", help="default: the preset's")
    train.add_argument("--skeleton", help="parts of the network: lsp, mpii, flic, coco or a .toml file; those of each "
                       "--data are matched by name (default: the parts of the first --data)")  # fmt: skip
    train.add_argument("--init", metavar="FILE", help="weights to start from, a file or a bundled name; wider layers "
                       "and more stages grow from them; layers that do not fit, for instance because the parts differ, "
                       "start anew (start.txt); or torchvision's VGG-19 for the trunk of the vgg preset")  # fmt: skip
    train.add_argument("--recipe", help="modern, few, or paper: as released (paper-vgg: of the vgg preset), or a .json "
                       "file with some fields of TrainingConfig, which change modern or the one that its field recipe "
                       "names, such as a run's config.json (default: for up to 500 samples of one's own few, which "
                       "starts from bundled weights, otherwise modern)")  # fmt: skip
    train.add_argument("--epochs", type=float, help="passes over the data (default: the recipe's)")
    train.add_argument("--batch", type=int, help="samples a step, over all processes (default: the recipe's)")
    train.add_argument("--accumulate", type=int, metavar="N", help="take a batch in N pieces, for less memory "
                       "(default: 1)")  # fmt: skip
    train.add_argument("--recompute", action="store_true", help="run parts of the network again in the backward pass "
                       "instead of keeping their maps: less memory, more time")  # fmt: skip
    train.add_argument("--learning-rate", type=float, help="default: the recipe's")
    train.add_argument("--loss", choices=("mask", "zero"), help="unlabeled parts: left out of the loss, or maps of "
                       "zeros as released (default: the recipe's)")  # fmt: skip
    train.add_argument("--robust", type=float, metavar="C", help="for labels that may be wrong: count less of a part's "
                       "squared error above C times that of a missed part, for instance 1 (default: 0)")  # fmt: skip
    train.add_argument(
        "--scale", nargs=2, type=float, metavar=("MIN", "MAX"), help="range of random magnification (default: 0.7 1.3)"
    )
    train.add_argument("--rotate", type=float, metavar="DEGREES", help="largest random rotation (default: 40)")
    train.add_argument("--mirror", type=float, metavar="PROBABILITY", help="of mirroring a sample; 0 where every "
                       "subject faces the same way (default: 0.5)")  # fmt: skip
    train.add_argument("--center-error", type=float, metavar="PX", help="how far off the center that the network is "
                       "told may be, box pixels (default: 0)")  # fmt: skip
    train.add_argument("--color", type=float, metavar="SHARE", help="random changes of brightness, contrast and "
                       "saturation by up to this share (default: 0)")  # fmt: skip
    train.add_argument("--occlude", type=float, metavar="PROBABILITY", help="of a random rectangle over the picture "
                       "(default: 0)")  # fmt: skip
    train.add_argument("--average", type=float, metavar="DECAY", help="validate and keep a running average of the "
                       "weights, of which this share stays a step, for instance 0.999 (default: 0: off)")  # fmt: skip
    train.add_argument(
        "--scheme",
        choices=("joint", "stagewise", "stagewise_then_joint", "final_only"),
        help="which stages learn when, and from which losses (default: joint, a loss at every stage)",
    )
    train.add_argument("--precision", choices=("fp32", "tf32", "bf16"), help="of products (default: fp32)")
    train.add_argument("--seed", type=int, help="of weights, order and augmentation (default: 0)")
    train.add_argument("--workers", type=int, help="loader processes (default: one a core, at most 8)")
    train.add_argument("--save-every", type=int, help="steps between checkpoints (default: 500)")
    train.add_argument("--validate-every", type=float, help="epochs between validations (default: 1)")
    train.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")
    where = train.add_mutually_exclusive_group()
    where.add_argument("-o", "--output", type=Path, help="run folder (default: runs/PRESET)")
    where.add_argument(
        "--resume", type=Path, metavar="RUN", help="go on with a run; what is not given comes from its config"
    )

    evaluate = _verb(verbs, "eval", _eval, "score a network, or a file of predictions, on annotated pictures: PCK, "
                     "PCKh, the FLIC rule or COCO's average precision, one row a stage")  # fmt: skip
    evaluate.add_argument("--data", required=True, help="as for train")
    evaluate.add_argument("--last", type=int, metavar="N", help="score only the last N samples")
    evaluate.add_argument("--model", help="weights: a .safetensors file or a bundled name (default: bundled)")
    evaluate.add_argument("--predictions", type=Path, metavar="FILE", help="score this file instead of a network: "
                          ".json, .csv or .npz of ours, COCO's results .json, arrays in .npz or .mat (prediction_all "
                          "of the authors' release among them); matched by the names of the images where the file has "
                          "them, otherwise by order")  # fmt: skip
    evaluate.add_argument("--skeleton", help="parts of that file in its order, where it doesn't name them: lsp, mpii, "
                          "flic, coco or a .toml file (default: by their number)")  # fmt: skip
    evaluate.add_argument("--first-pixel", type=float, metavar="X", help="coordinate of the first pixel in that file "
                          "(default: 1 in .mat files, otherwise 0)")  # fmt: skip
    evaluate.add_argument("--metric", choices=("auto", "pck", "pckh", "flic", "oks"), default="auto",
                          help="pck: PCK@0.2; pckh: PCKh@0.5 over MPII's head length; flic: PCK@0.2 over the torso, "
                          "elbows and wrists told apart; oks: PCK, and COCO's average precision (needs pycocotools); "
                          "auto: pckh where the annotation has head lengths, flic for FLIC's parts, otherwise pck "
                          "(%(default)s)")  # fmt: skip
    evaluate.add_argument("--reference", metavar="LENGTH", help="what errors are measured against: torso (left "
                          "shoulder to right hip), head, box (longer side about the labeled parts), pixel, or two "
                          "parts PART:PART (default: the metric's)")  # fmt: skip
    evaluate.add_argument("--threshold", type=float, metavar="T", help="how much of that length an error may be "
                          "(default: 0.2, for pckh 0.5)")  # fmt: skip
    evaluate.add_argument("--centric", choices=("person", "observer"), default="person", help="person: left and right "
                          "as annotated and predicted; observer: truth and prediction named anew, as if every subject "
                          "faced the camera (%(default)s)")  # fmt: skip
    evaluate.add_argument("--protocol", choices=("crop", "lsp"), default="crop",
                          help="crop: each sample's own region, as in training; lsp: the LSP test protocol, image "
                          "height to 294.4 px of 368 and pyramid 0.7 to 1.3 by 0.1 (%(default)s)")  # fmt: skip
    evaluate.add_argument("-o", "--output", type=Path, help="folder for eval.json, pck.png, report.html and "
                          "predictions.csv (default: print only)")  # fmt: skip
    _test_options(evaluate)

    importer = _verb(verbs, "import", _import, "weights of Caffe or mmpose as a .safetensors of ours")
    importer.add_argument("file", type=Path, help="a .caffemodel of the released networks (MPII, LSP, FLIC, VGG), or "
                          "a checkpoint of mmpose's CPM (.pth, .safetensors)")  # fmt: skip
    importer.add_argument("-o", "--output", type=Path, required=True, help="the .safetensors file to write")
    importer.add_argument("--preset", help="cpm6, flic, vgg or mmpose (default: by the names in the file)")
    importer.add_argument("--skeleton", help="names of the parts: a .toml file, or one of "
                          "lsp, mpii, flic, coco and jhmdb (default: by the number of parts)")  # fmt: skip
    importer.add_argument("--input-size", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"),
                          help="mmpose: the box in pixels (default: 368 368, for COCO 256 192)")  # fmt: skip
    importer.add_argument("--fold-norm", action="store_true", help="mmpose: batch normalization into the weights")

    export = _verb(verbs, "export", _export, "a network for other runtimes, compared with PyTorch before it is written")
    export.add_argument("model", help="weights: a .safetensors file or a bundled name")
    export.add_argument("-o", "--output", type=Path, required=True, help="the file to write: .onnx, or .pt2 of "
                        "torch.export")  # fmt: skip
    export.add_argument("--decode", action="store_true", help="give key points in box pixels and scores, not beliefs")

    data = verbs.add_parser("data", help="check or convert annotated pictures", allow_abbrev=False,
                            description="check or convert annotated pictures")  # fmt: skip
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = _verb(actions, "check", _check,
                  "read every sample: what is missing, outside, swapped or there twice; nine are drawn")  # fmt: skip
    check.add_argument("data", nargs="+", help="as for train")
    check.add_argument("-o", "--output", type=Path, default=Path("runs/check"), help="folder to write (%(default)s)")

    convert = _verb(actions, "convert", _convert, "labels of SLEAP, DeepLabCut, COCO and others into a folder for "
                    "cpm-fast label, or out of it")  # fmt: skip
    convert.add_argument("source", help="what train reads, or a .slp of SLEAP; with --to deeplabcut or coco a folder "
                         "of cpm-fast label, or for deeplabcut results of cpm-fast infer")  # fmt: skip
    convert.add_argument("--to", choices=("labels", "deeplabcut", "coco"), default="labels", help="labels: pictures "
                         "and labels.csv; deeplabcut: CollectedData, or of results a table with likelihood; coco: a "
                         ".json (%(default)s)")  # fmt: skip
    convert.add_argument("--scorer", default="cpm_fast", help="who labeled, for DeepLabCut (%(default)s)")
    convert.add_argument("-o", "--output", type=Path, required=True, help="folder to write, for coco the .json file")

    frames = _verb(verbs, "frames", _frames, "frames worth labeling out of videos, as PNG files with a manifest")
    frames.add_argument("videos", nargs="*", type=Path, help="video files (default: those of the --project)")
    frames.add_argument("-o", "--output", type=Path, help="folder for the pictures and frames.csv (default: the "
                        "project's frames, or runs/frames)")  # fmt: skip
    _project_option(frames)
    frames.add_argument("--count", type=int, default=20, help="frames per video, at most (%(default)s)")
    frames.add_argument("--by", choices=("kmeans", "uniform", "uncertainty"), default="kmeans", help="kmeans: frames "
                        "that look different; uniform: spread over the video; uncertainty: where the network's peaks "
                        "are low (%(default)s)")  # fmt: skip
    frames.add_argument("--model", help="weights for --by uncertainty (default: the project's last)")
    frames.add_argument("--seed", type=int, default=0, help="of kmeans (%(default)s)")

    label = _verb(verbs, "label", _label, "label the pictures of a folder, or correct what a network found, in a page "
                  "of this machine's browser")  # fmt: skip
    label.add_argument("folder", nargs="?", type=Path, help="of the pictures; labels.csv there is read and written "
                       "(default: the project's frames)")  # fmt: skip
    _project_option(label)
    label.add_argument("--only", type=Path, metavar="TABLE", help="show only the pictures of this CSV, in its order, "
                       "for instance the suggestions.csv of cpm-fast suggest")  # fmt: skip
    label.add_argument("--skeleton", help="parts to label: lsp, mpii, flic, coco, jhmdb or a .toml file (default: the "
                       "folder's skeleton.toml, its labels.csv, or the network's)")  # fmt: skip
    label.add_argument("--model", help="weights whose predictions are shown: a .safetensors file or a bundled name "
                       "(default: the project's last; none: those that suggest found)")  # fmt: skip
    label.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")
    label.add_argument("--port", type=int, help="of 127.0.0.1 (default: 8765, or the next that is free)")

    suggest = _verb(verbs, "suggest", _suggest, "rank the pictures without labels by how much a network would learn "
                    "from them: a table and a contact sheet")  # fmt: skip
    suggest.add_argument("folder", nargs="?", type=Path, help="of the pictures and labels.csv (default: the project's)")
    _project_option(suggest)
    suggest.add_argument("--model", help="weights: a .safetensors file or a bundled name (default: the project's last)")
    suggest.add_argument("-n", "--count", type=int, default=20, help="pictures to suggest (%(default)s)")
    suggest.add_argument("--by", nargs="+", choices=("low_peaks", "stages", "mirrored", "jump", "novelty"),
                         help="criteria (default: all; mirrored only where the skeleton has pairs)")  # fmt: skip
    suggest.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")
    suggest.add_argument("-o", "--output", type=Path, help="folder to write (default: the project's next "
                         "runs/suggest-N, or runs/suggest)")  # fmt: skip

    project = verbs.add_parser("project", help="a folder that frames, label, suggest and train share",
                               description="a folder that frames, label, suggest and train share",
                               allow_abbrev=False)  # fmt: skip
    actions = project.add_subparsers(dest="action", required=True, metavar="ACTION")
    new = _verb(actions, "new", _project_new, "make a project's folder")
    new.add_argument("folder", type=Path, help="the folder to make")
    new.add_argument("--skeleton", required=True, help="the parts: lsp, mpii, flic, coco, jhmdb or a .toml file")
    new.add_argument("--videos", nargs="+", default=["videos/*"], metavar="VIDEO", help="paths or patterns relative to "
                     "the folder (default: videos/*)")  # fmt: skip
    show = _verb(actions, "show", _project_show, "say what a project holds, and what to do next")
    show.add_argument("folder", type=Path, help="of the project")

    compare = _verb(verbs, "compare", _compare, "runs beside each other: settings that differ, scores, curves")
    compare.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs, two or more")
    compare.add_argument(
        "-o", "--output", type=Path, default=Path("runs/compare"), help="folder to write (%(default)s)"
    )

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


def _project_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", type=Path, help="a folder with a project.toml, see cpm-fast project")


def _demo(options: argparse.Namespace) -> int:
    from cpm_fast.commands.demo import run_demo

    return FINE if run_demo(options.output, options.figures) else BAD_RESULT


def _infer(options: argparse.Namespace) -> int:
    from cpm_fast.commands.infer_images import infer_pictures
    from cpm_fast.commands.infer_video import infer_video, is_video

    return FINE if (infer_video if is_video(options) else infer_pictures)(options) else BAD_RESULT


def _train(options: argparse.Namespace) -> int:
    from cpm_fast.commands.train import train_command

    return FINE if train_command(options) else BAD_RESULT


def _eval(options: argparse.Namespace) -> int:
    from cpm_fast.commands.eval import eval_command

    return FINE if eval_command(options) else BAD_RESULT


def _import(options: argparse.Namespace) -> int:
    from cpm_fast.skeleton import BUILT_IN, Skeleton
    from cpm_fast.weights.importers.importing import import_weights

    name = options.skeleton
    skeleton = None if name is None else BUILT_IN.get(name) or Skeleton.from_toml(name)
    size = None if options.input_size is None else tuple(options.input_size)
    report = import_weights(options.file, options.output, preset=options.preset, skeleton=skeleton,
                            input_size=size, fold_norm=options.fold_norm)  # fmt: skip
    print(report)
    return FINE if report.ok else BAD_RESULT


def _export(options: argparse.Namespace) -> int:
    from cpm_fast.weights import load
    from cpm_fast.weights.exporters.exporting import export_model

    model = load(options.model, device="cpu")
    print(f"check     {export_model(model, options.output, decode=options.decode)}")
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
