"""The sum at the end of a residual block, bound to buffers."""

from __future__ import annotations

import pytest
import torch

from cpm_fast.ops.maps import bound_sum

SIZE = (2, 5, 7, 6)


def channels_last(*shape: int) -> torch.Tensor:
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("part", [False, True], ids=["whole maps", "channels of maps"])
def test_matches_reference(relu, part):
    x, earlier, out = (channels_last(2, 9, 7, 6)[:, 2:7] if part else channels_last(*SIZE) for _ in range(3))
    call = bound_sum(x, earlier, relu, out)
    for _ in range(2):  # the content of the maps at the call counts
        x.normal_()
        earlier.normal_()
        x[0, 0, 0, 0] = float("nan")
        call()
        wanted = x + earlier
        wanted = torch.relu(wanted) if relu else wanted
        torch.testing.assert_close(out, wanted, rtol=0, atol=0, equal_nan=True)


def test_rejects():
    x, earlier, out = channels_last(*SIZE), channels_last(*SIZE), channels_last(*SIZE)
    with pytest.raises(ValueError, match="must be of one shape"):
        bound_sum(x, earlier[:, :4], True, out)
    with pytest.raises(ValueError, match="out must lie apart from earlier"):
        bound_sum(x, earlier, True, earlier)
    with pytest.raises(TypeError, match="x must be torch.float32"):
        bound_sum(x.double(), earlier, True, out)
