"""The processes that torchrun started, brought together and parted without a crash."""

from __future__ import annotations

from datetime import timedelta

import torch.distributed as distributed


def join_group(backend: str, longest_wait: timedelta) -> None:
    """Join the default process group, as the environment says; `leave_group` ends it, its threads too.

    Args:
        backend: "gloo" or "nccl".
        longest_wait: for another process; one that dies is noticed at once.

    Raises:
        RuntimeError: the others can't be reached.
    """
    # Default arguments in there are the default group of when it is first imported, as PyTorch's compiler does at some
    # time. A group that they hold outlives its end, and its threads the interpreter: one that then touches a Python
    # object ends the process with SIGABRT.
    import torch.distributed.nn.functional  # noqa: F401

    distributed.init_process_group(backend, timeout=longest_wait)


def leave_group() -> None:
    """Leave the default process group; nothing where there is none."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
