"""Matroska files with frames at any times and no frame rate, as screen recorders and phone cameras write them."""

import struct
from collections.abc import Sequence

import cv2
import numpy as np

UNKNOWN_SIZE = b"\x01\xff\xff\xff\xff\xff\xff\xff"


def element(name: int, content: bytes) -> bytes:
    """Return an EBML element with its length in eight bytes."""
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + (1 << 56 | len(content)).to_bytes(8, "big") + content


def number(name: int, value: int) -> bytes:
    return element(name, value.to_bytes(8, "big"))


def matroska(frames: Sequence[np.ndarray], milliseconds: Sequence[int]) -> bytes:
    """Return frames [H, W, 3] uint8 BGR as Motion JPEG, each with its time."""
    height, width = frames[0].shape[:2]
    head = element(
        0x1A45DFA3,
        number(0x4286, 1)
        + number(0x42F7, 1)
        + number(0x42F2, 4)
        + number(0x42F3, 8)
        + element(0x4282, b"matroska")
        + number(0x4287, 2)
        + number(0x4285, 2),
    )
    duration = struct.pack(">d", milliseconds[-1] + milliseconds[1] - milliseconds[0])
    info = element(0x1549A966, number(0x2AD7B1, 1_000_000) + element(0x4489, duration))
    video = element(0xE0, number(0xB0, width) + number(0xBA, height))
    track = number(0xD7, 1) + number(0x73C5, 1) + number(0x83, 1) + element(0x86, b"V_MJPEG") + video
    clusters = b""
    for image, time in zip(frames, milliseconds, strict=True):
        jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
        block = b"\x81" + struct.pack(">hB", 0, 0x80) + jpeg
        clusters += element(0x1F43B675, number(0xE7, time) + element(0xA3, block))
    tracks = element(0x1654AE6B, element(0xAE, track))
    return head + bytes.fromhex("18538067") + UNKNOWN_SIZE + info + tracks + clusters
