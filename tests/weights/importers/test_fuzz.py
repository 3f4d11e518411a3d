"""Every reader of weights under a fuzzer for a moment, and against files that claim far more than they contain."""

import io
import resource
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cpm_fast.model.files import load_model
from cpm_fast.weights.importers.importing import import_weights
from cpm_fast.weights.importers.state_dict import read_state_dict

SCRIPT = Path(__file__).parent / "fuzz_readers.py"
RUNS = 1500
CLAIM = 2**31


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["wire", "caffe", "archive", "legacy", "safetensors", "ours"])
def test_nothing_but_weights_or_an_error_comes_out(tmp_path, reader):
    pytest.importorskip("atheris", reason="fuzzing needs pip install atheris")
    limits = ["-timeout=5", "-rss_limit_mb=2048", "-max_len=4096", f"-artifact_prefix={tmp_path}/"]
    found = subprocess.run(
        [sys.executable, SCRIPT, reader, f"-runs={RUNS}", *limits],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0 and f"Done {RUNS} runs" in found.stderr, found.stderr[-2000:]
    assert list(tmp_path.iterdir()) == []


def legacy_of_2_gb() -> bytes:
    """Write a file in PyTorch's format before 1.6, whose one tensor claims 2^31 numbers."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(1234)}, buffer, _use_new_zipfile_serialization=False)
    content = buffer.getvalue()
    count = b"M" + struct.pack("<H", 1234)  # pickle's number of two bytes
    assert content.count(count) >= 1
    return content.replace(count, b"\x8a\x05" + struct.pack("<Q", CLAIM)[:5])


def archive_of_2_gb() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(1234)}, buffer)
    content = buffer.getvalue()
    # The count of bytes stays, so that the archive stays valid: 1234 becomes 65535 rows of a stride.
    return content.replace(b"M" + struct.pack("<H", 1234), b"M" + struct.pack("<H", 65535))


def safetensors_of_2_gb() -> bytes:
    header = b'{"weight":{"dtype":"F32","shape":[536870912],"data_offsets":[0,2147483648]}}'
    return struct.pack("<Q", len(header)) + header + bytes(64)


def endless_header() -> bytes:
    return struct.pack("<Q", CLAIM) + bytes(64)


CLAIMS = {
    "legacy.pth": legacy_of_2_gb,
    "archive.pth": archive_of_2_gb,
    "tensor.safetensors": safetensors_of_2_gb,
    "header.safetensors": endless_header,
}


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("read", [read_state_dict, load_model], ids=["theirs", "ours"])
def test_claims_of_2_gb_end_soon_and_take_no_memory(tmp_path, name, read):
    path = tmp_path / name
    path.write_bytes(CLAIMS[name]())
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ValueError, match=name):
        read(path)
    assert time.process_time() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024, "kilobytes"


@pytest.mark.parametrize("suffix", [".caffemodel", ".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", bytes(10**6), bytes(range(256)) * 4000], ids=["nothing", "zeros", "noise"])
def test_import_of_what_is_no_file_of_weights(tmp_path, suffix, content):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    started = time.process_time()
    with pytest.raises(ValueError, match=f"net{suffix}: "):
        import_weights(path, tmp_path / "out.safetensors")
    assert time.process_time() - started < 1 and not (tmp_path / "out.safetensors").exists()


def test_half_of_each_valid_file_is_refused(tmp_path):
    save_file({"backbone.stem.9.conv.weight": torch.zeros(16, 2, 1, 1)}, tmp_path / "whole.safetensors")
    torch.save({"backbone.stem.9.conv.weight": torch.zeros(16, 2, 1, 1)}, tmp_path / "whole.pth")
    for suffix in (".safetensors", ".pth"):
        whole = (tmp_path / f"whole{suffix}").read_bytes()
        (tmp_path / f"half{suffix}").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=f"half{suffix}: not a "):
            import_weights(tmp_path / f"half{suffix}", tmp_path / "out.safetensors")
