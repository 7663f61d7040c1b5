"""Shards: what this process has of tensors that are spread over several, as under FSDP's `fully_shard`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from adamx.torch.formulas import Formula


def is_sharded(tensor: Any) -> bool:
    """True for a DTensor, of which a process has a part."""
    return hasattr(tensor, "to_local")


def local(tensor: Any) -> Any:
    """This process's part of a tensor; of others the tensor itself."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def of(formula: Formula) -> Formula:
    """A formula whose tensors are this process's parts."""
    return formula._replace(m=local(formula.m), v=local(formula.v), w=local(formula.w))


def process() -> tuple[int, int]:
    """(which of how many processes this is): (0, 1) where nothing is distributed."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def notes(params: Sequence[Any]) -> list[str]:
    """What a reader of a distributed training's figures must know."""
    which, count = process()
    if any(map(is_sharded, params)):
        mine, total = sum(local(p).numel() for p in params), sum(p.numel() for p in params)
        return [
            f"Process {which} of {count}: parameters are sharded, and all figures, norms too, are of this process's "
            f"shard ({mine:,} of {total:,} coordinates)."
        ]
    if count > 1:
        return [
            f"Process {which} of {count}: gradients, parameters and state are those that this process has (the same in "
            "all under DDP, a shard where they are sharded), and the loss is that of its batches."
        ]
    return []
