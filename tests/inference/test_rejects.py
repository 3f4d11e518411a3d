"""infer: every bad input raises an error with the requirement, the value, and, if useful, the remedy."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from PIL import Image

from cpm_fast.config import compact
from cpm_fast.inference import infer
from cpm_fast.model.cpm import CPM
from cpm_fast.roi import Roi

GREY = np.full((40, 60, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def model() -> CPM:
    return CPM(dataclasses.replace(compact(), input_size=(64, 64), stages=1))


BOX = [5.0, 5.0, 30.0, 30.0]
BAD = [
    ("missing file", FileNotFoundError, "nothing-here.jpg: no such", {"images": "nothing-here.jpg"}),
    ("no image type", TypeError, "image 0 must be a path, .* got int", {"images": 3}),
    ("no image type in a list", TypeError, "image 1 must be .* got NoneType", {"images": [GREY, None]}),
    ("empty list", ValueError, "at least one image", {"images": []}),
    ("empty array", ValueError, "at least one pixel", {"images": GREY[:0]}),
    ("float array", TypeError, r"uint8, got float64; .*image \* 255", {"images": GREY / 255}),
    ("int array", TypeError, "uint8, got int64", {"images": GREY.astype(np.int64)}),
    ("batch array", ValueError, r"pass list\(images\)", {"images": GREY[None]}),
    ("CHW array", ValueError, "transpose", {"images": np.zeros((3, 40, 60), np.uint8)}),
    ("two channels", ValueError, r"\[H, W, 1, 3 or 4\], got \[40, 60, 2\]", {"images": GREY[..., :2]}),
    ("int tensor", TypeError, "uint8, or floating", {"images": torch.zeros(3, 4, 4, dtype=torch.int32)}),
    ("HWC tensor", ValueError, r"\[1, 3 or 4, H, W\]", {"images": torch.zeros(9, 9, 3)}),
    ("batch tensor", ValueError, r"list\(images\)", {"images": torch.zeros(1, 3, 9, 9)}),
    ("empty tensor", ValueError, "at least one pixel", {"images": torch.zeros(3, 0, 9)}),
    ("tensor above 1", ValueError, "from 0 to 255", {"images": torch.tensor([0.0, 255.0]).expand(3, 1, 2)}),
    ("tensor below 0", ValueError, "from -1 to -1", {"images": -torch.ones(3, 4, 4)}),
    ("tensor of NaN", ValueError, "from nan to nan", {"images": torch.full((3, 4, 4), float("nan"))}),
    ("PIL of 16 bits", ValueError, "mode 'I;16'", {"images": Image.new("I;16", (4, 4))}),
    ("boxes and rois", ValueError, "can't both", {"boxes": BOX, "rois": Roi((5, 5), 9)}),
    ("NaN in a box", ValueError, "box 1 of image 0.*finite", {"boxes": [BOX, [0, 0, np.nan, 9]]}),
    ("infinite box", ValueError, "box 0 of image 0.*finite", {"boxes": [0, 0, np.inf, 9]}),
    ("box turned round", ValueError, "box 0 of image 0.*left < right", {"boxes": [30, 5, 5, 30]}),
    ("flat box", ValueError, "box 0 of image 0.*top < bottom", {"boxes": [5, 5, 30, 5]}),
    ("box outside", ValueError, "box 1 of image 0 must touch", {"boxes": [BOX, [60, 5, 80, 30]]}),
    ("box above", ValueError, "box 0 of image 0 must touch", {"boxes": [5, -30, 30, -0.5]}),
    ("roi outside", ValueError, "roi 0 of image 0 must touch", {"rois": Roi((-50.0, 5.0), 20.0)}),
    ("three numbers", ValueError, r"boxes of image 0 must be \[N, 4\]", {"boxes": [1, 2, 3]}),
    ("words for a box", TypeError, "boxes of image 0 must be numbers", {"boxes": "left"}),
    (
        "boxes for one of two",
        ValueError,
        "one entry for each of the 2 images, got 1",
        {"images": [GREY, GREY], "boxes": [BOX]},
    ),
    ("one roi for two", TypeError, "rois must be a list", {"images": [GREY, GREY], "rois": Roi((5, 5), 9)}),
    ("no roi", TypeError, "rois of image 0 must be a Roi", {"rois": [BOX]}),
    ("no pyramid", ValueError, "pyramid must be one or more", {"pyramid": ()}),
    ("pyramid of 0", ValueError, "pyramid must be one or more", {"pyramid": (1.0, 0.0)}),
    ("pyramid of NaN", ValueError, "pyramid must be one or more", {"pyramid": (float("nan"),)}),
    ("pyramid a number", TypeError, "pyramid must be a sequence", {"pyramid": 1.0}),
    ("no nominal scale", ValueError, "belief_maps are those", {"pyramid": (0.9,), "belief_maps": True}),
    ("pyramid beyond numbers", ValueError, "pyramid must be .* from 1/64 to 64", {"pyramid": (1.0, 1e300)}),
    ("pyramid below numbers", ValueError, "pyramid must be .* from 1/64 to 64", {"pyramid": (1e-300,)}),
    ("no width of a box", ValueError, "box 0 of image 0 must have a side", {"boxes": [5, 5, 5.0001, 5.0001]}),
    ("huge box", ValueError, "box 0 of image 0 must have a side", {"boxes": [-1e300, 0, 1e300, 30]}),
    ("roi without width", ValueError, "roi 0 of image 0 must have a side", {"rois": Roi((5.0, 5.0), 1e-300)}),
    ("100,000 threads", ValueError, "threads must be .* to 1024", {"threads": 100_000}),
    ("huge batch", ValueError, "batch must be .* at most", {"batch": 10**9}),
    ("batch of 0", ValueError, "batch must be a positive", {"batch": 0}),
    ("half a thread", ValueError, "threads must be a whole number from 1 to 1024", {"threads": 0.5}),
    ("precision", ValueError, r"precision must be one of .*fp32.* got 'int4'", {"precision": "int4"}),
    ("color", ValueError, "color must be 'bgr' or 'rgb'", {"color": "hsv"}),
    ("model type", TypeError, "model must be a CPM", {"model": 3}),
    ("other device", RuntimeError, "device must be cpu, where the given model is", {"device": "meta"}),
    ("unknown word", TypeError, "box_size", {"box_size": 3}),
]


@pytest.mark.parametrize(("error", "message", "given"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_rejects(model, error, message, given):
    options = {"images": GREY, "model": model, **given}
    with pytest.raises(error, match=message):
        infer(options.pop("images"), **options)


def test_rejects_an_empty_folder_and_no_second_positional_argument(tmp_path, model):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=re.escape(str(tmp_path)) + ".*no image files"):
        infer(tmp_path, model=model)
    (tmp_path / "raw.cr2").write_bytes(b"II*\0")
    with pytest.raises(ValueError, match=r"no image files .*; it has 1 videos or pictures of kinds .*: raw\.cr2"):
        infer(tmp_path, model=model)
    with pytest.raises(TypeError, match="positional"):
        infer(GREY, model)
