"""Images of all kinds from users, in one form: [H, W, 3] uint8 BGR, read when needed."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cpm_fast.media.containers import starts_as_picture
from cpm_fast.media.image import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    UNREAD_SUFFIXES,
    Picture,
    Reduction,
    as_it_is,
    decode_picture,
    read_picture,
    shown,
)
from cpm_fast.media.video_files import VIDEO_SUFFIXES
from cpm_fast.system.numbers import is_whole
from cpm_fast.system.output_folder import written_files

CHANNELS = (1, 3, 4)
# PIL modes whose pixels are bytes, so that converting them to RGB loses no range.
PIL_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV")
WANTED = (
    "a path, a folder, the bytes of a picture file or an open one, an [H, W, 3] uint8 array, a PIL image, a [3, H, W] "
    "tensor, or a list of them"
)
# Number of skipped files of a folder that a warning names.
SHOWN = 3


@dataclass(frozen=True, eq=False)
class Source:
    """One image that has not been read yet.

    Args:
        name: the path, or "image 0" for the first of a list whose file is not known.
        item: path, bytes of a picture file, array, tensor or PIL image, checked for form but not read.
        color: channel order of an array.
        max_pixels: a file whose header announces more is refused.
    """

    name: str
    item: Any
    color: Literal["bgr", "rgb"] = "bgr"
    max_pixels: int = MAX_PIXELS

    def read(self) -> np.ndarray:
        """Return [H, W, 3] uint8 BGR, upright by the EXIF orientation; gray is repeated, alpha is dropped.

        Raises:
            OSError: the file can't be read.
            ValueError: it is not a picture, or cut short.
        """
        return self.picture().pixels

    def picture(self, reduction: Reduction = as_it_is) -> Picture:
        """Read the image, a JPEG at the reduction that its longer side allows; errors are those of `read`."""
        if isinstance(self.item, Path):
            return read_picture(self.item, self.max_pixels, reduction)
        if isinstance(self.item, bytes):
            return decode_picture(self.item, self.name, self.max_pixels, reduction)
        return Picture.whole(self._pixels())

    def _pixels(self) -> np.ndarray:
        if isinstance(self.item, torch.Tensor):
            tensor = self.item.detach().cpu()
            if tensor.is_floating_point():
                tensor = (tensor.float() * 255).round().to(torch.uint8)
            return _three_channels(tensor.permute(1, 2, 0).numpy())[..., ::-1]
        if isinstance(self.item, np.ndarray):
            image = _three_channels(self.item)
            return image if self.color == "bgr" else image[..., ::-1]
        return self._pixels_of_pil()

    def _pixels_of_pil(self) -> np.ndarray:
        from PIL import ImageOps

        try:
            return np.asarray(ImageOps.exif_transpose(self.item).convert("RGB"))[..., ::-1]
        # An image from a file is read only now, by readers that raise exceptions of many kinds on damaged files.
        except Exception as error:
            raise ValueError(f"{self.name}: the PIL image can't be read: {error}") from error


def list_images(
    images: Any, color: Literal["bgr", "rgb"] = "bgr", max_pixels: int = MAX_PIXELS
) -> tuple[list[Source], bool]:
    """Return the sources that `images` names, and whether it names several (a folder or a list).

    Args:
        images: path, folder (its image files in order of their names, without drawn ones of an earlier run, and not
            those of folders within), bytes of a picture file, an open file, array [H, W] or [H, W, C] uint8, PIL image,
            tensor [C, H, W] uint8 or float in [0, 1] in RGB order, C 1, 3 or 4; or a list.
        color: channel order of arrays.
        max_pixels: a file whose header announces more is refused.

    Raises:
        FileNotFoundError: a path does not exist.
        TypeError: an image is of no such type, or its dtype is wrong.
        ValueError: an image is empty or of the wrong shape or range, a folder has no images, or a list is empty.
    """
    check_color(color)
    if not is_whole(max_pixels) or max_pixels < 1:
        raise ValueError(f"max_pixels must be a positive whole number, got {max_pixels!r}")
    if isinstance(images, (list, tuple)):
        if not images:
            raise ValueError("images must hold at least one image, got an empty list")
        named = [(f"image {i}", item) for i, item in enumerate(images)]
        return [source for name, item in named for source in sources_of(item, name, color, max_pixels)], True
    sources = sources_of(images, "image 0", color, max_pixels)
    # The sources of a folder are the files in it.
    return sources, isinstance(images, (str, os.PathLike)) and sources[0].item != Path(images)


def check_color(color: str) -> None:
    """Raise ValueError if a channel order is unknown."""
    if color not in ("bgr", "rgb"):
        raise ValueError(f"color must be 'bgr' or 'rgb', got {color!r}")


def sources_of(
    item: Any, name: str, color: Literal["bgr", "rgb"] = "bgr", max_pixels: int = MAX_PIXELS
) -> list[Source]:
    """Return the sources that one entry of a list names: one, or those of a folder.

    Args:
        item, color, max_pixels: as for `list_images`, which says the errors too.
        name: of an image whose file is not known, for results and messages.
    """
    if isinstance(item, (str, os.PathLike)):
        path = Path(item)
        paths = [path]
        # Files first: that is one look at the disk for almost all. A pipe is refused when it is read.
        if not path.is_file():
            if path.is_dir():
                paths = list_folder(path)
            elif not path.exists():
                raise FileNotFoundError(f"{path}: no such image or folder")
        return [Source(shown(path), path, max_pixels=max_pixels) for path in paths]
    if isinstance(item, Source):
        return [replace(item, max_pixels=max_pixels)]
    if isinstance(item, (bytearray, memoryview)):
        item = bytes(item)
    elif not isinstance(item, (bytes, torch.Tensor, np.ndarray)) and not _is_pil(item) and hasattr(item, "read"):
        name = _name_of_file(getattr(item, "name", None), name)
        try:
            item = item.read()
        except UnicodeDecodeError:
            item = ""
        if not isinstance(item, bytes):
            raise TypeError(
                f"{name}: a file must be open for reading bytes, got {type(item).__name__}; open it as 'rb'"
            )
    if isinstance(item, bytes):
        return [Source(name, item, color, max_pixels)]
    if isinstance(item, torch.Tensor):
        _check_tensor(item, name)
    elif isinstance(item, np.ndarray):
        _check_array(item, name)
    elif _is_pil(item):
        name = _name_of_file(getattr(item, "filename", None), name)
        _check_pil(item, name)
    else:
        raise TypeError(f"{name} must be {WANTED}, got {type(item).__name__}")
    return [Source(name, item, color)]


def _name_of_file(file: Any, name: str) -> str:
    """Return the name of the file behind an open file or a PIL image; `name` if there is none (`<stdin>`)."""
    return shown(Path(file)) if isinstance(file, str | os.PathLike) and file and "<" not in str(file)[:1] else name


def _is_pil(item: Any) -> bool:
    return "PIL.Image" in sys.modules and isinstance(item, sys.modules["PIL.Image"].Image)


def list_folder(folder: Path, recursive: bool = False) -> list[Path]:
    """Return the image files of a folder, in order of their names; warn of pictures and videos that are skipped.

    Args:
        folder: files that a run of `cpm-fast infer` wrote there are not listed.
        recursive: also those of folders within, but not of hidden ones.

    Raises:
        ValueError: there are none.
    """
    paths = files_of(folder, IMAGE_SUFFIXES, recursive)
    others = files_of(folder, None, recursive)
    names = ", ".join(path.name for path in others[:SHOWN]) + (", ..." if len(others) > SHOWN else "")
    if not paths:
        unread = f"; it has {len(others)} videos or pictures of kinds that can't be read: {names}" if others else ""
        raise ValueError(f"{folder}: the folder has no image files ({', '.join(sorted(IMAGE_SUFFIXES))}){unread}")
    if others:
        warnings.warn(
            f"{folder}: {len(others)} files are skipped, which are videos, unreadable kinds of pictures, or pictures "
            f"with unknown suffixes: {names}",
            stacklevel=2,
        )
    return paths


PASSED_OVER = UNREAD_SUFFIXES | VIDEO_SUFFIXES


def _is_other(path: Path) -> bool:
    """Return whether a file is a video or a picture that a folder's list leaves out."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return False
    if suffix in PASSED_OVER:
        return True
    try:
        with path.open("rb") as file:
            return starts_as_picture(file.read(12))
    except OSError:
        return False


def files_of(folder: Path, suffixes: Collection[str] | None, recursive: bool = False) -> list[Path]:
    """Return the files of a folder with one of the suffixes, sorted, without hidden ones and a run's output.

    Without suffixes these are the videos and pictures that `list_folder` leaves out.
    """
    own = written_files(folder)
    # Files that macOS leaves beside every picture on other disks are hidden: ._photo.jpg.
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    files = [path for path in entries if path.name not in own and not path.is_dir()]
    found = [path for path in files if (_is_other(path) if suffixes is None else path.suffix.lower() in suffixes)]
    for path in entries if recursive else ():
        # A link may lead back to a folder above.
        if path.is_dir() and not path.is_symlink():
            found += files_of(path, suffixes, recursive)
    return found


def _check_array(image: np.ndarray, name: str) -> None:
    if image.dtype != np.uint8:
        hint = "; for values in [0, 1]: (image * 255).round().astype(np.uint8)" if image.dtype.kind == "f" else ""
        raise TypeError(f"{name}: an array must be uint8, got {image.dtype}{hint}")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in CHANNELS):
        hint = "; for a batch pass list(images)" if image.ndim == 4 else ""
        hint = "; transpose it from [C, H, W]" if image.ndim == 3 and image.shape[0] in CHANNELS else hint
        raise ValueError(f"{name}: an array must be [H, W] or [H, W, 1, 3 or 4], got {list(image.shape)}{hint}")
    if not image.size:
        raise ValueError(f"{name}: an array must have at least one pixel, got {list(image.shape)}")


def _check_tensor(image: torch.Tensor, name: str) -> None:
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise TypeError(f"{name}: a tensor must be uint8, or floating point in [0, 1], got {image.dtype}")
    if image.ndim != 3 or image.shape[0] not in CHANNELS:
        hint = "; for a batch pass list(images)" if image.ndim == 4 else ""
        raise ValueError(f"{name}: a tensor must be [1, 3 or 4, H, W], got {list(image.shape)}{hint}")
    if not image.numel():
        raise ValueError(f"{name}: a tensor must have at least one pixel, got {list(image.shape)}")
    if image.is_floating_point():
        low, high = image.min().item(), image.max().item()
        if not (low >= 0 and high <= 1):
            raise ValueError(f"{name}: a floating point tensor must lie in [0, 1], got from {low:.4g} to {high:.4g}")


def _check_pil(image: Any, name: str) -> None:
    if image.mode not in PIL_MODES:
        raise ValueError(f"{name}: a PIL image must have 8 bits a channel, got mode {image.mode!r}; convert it first")
    if not (image.width and image.height):
        raise ValueError(f"{name}: a PIL image must have at least one pixel, got {image.width} x {image.height}")


def _three_channels(image: np.ndarray) -> np.ndarray:
    """Return [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] as [H, W, 3]."""
    if image.ndim == 2:
        image = image[..., None]
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
