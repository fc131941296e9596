"""The ranks of a stage: processes that run the same stage together and share its batches. A stage that was not launched as many is one.

Only the first rank writes; the others end where the writing begins (`apo_bench.core.files`).
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINTS_VARIABLE = "APO_BENCH_CHECKPOINTS"
"""Set for ranks alone: the scratch folder of their checkpoints."""

_rank, _num_ranks = 0, 1
_part, _num_parts = 0, 1


@dataclass(frozen=True)
class Share:
    """This rank's part of a batch, or of one of its `parts`. All fractions add up to 1, fraction times mean to the mean of the batch."""

    indices: list[int]
    """Never empty: a rank that a small batch leaves without an example computes another's in vain, as all must keep step."""
    fraction: float


def rank() -> int:
    """The number of this process among the ranks, from 0."""
    return _rank


def num_ranks() -> int:
    """How many ranks run this stage."""
    return _num_ranks


def join(device: str) -> None:
    """Joins the ranks that were launched with this process (their addresses are in the environment); binds it to its GPU, if any."""
    global _rank, _num_ranks
    import torch
    import torch.distributed

    backend = "gloo"
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    torch.distributed.init_process_group(backend)
    _rank, _num_ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()


def leave() -> None:
    """Parts from the other ranks, which may still be writing."""
    global _rank, _num_ranks
    import torch.distributed

    _rank, _num_ranks = 0, 1
    torch.distributed.destroy_process_group()


def parts(num_parts: int) -> Iterator[int]:
    """The numbers of the parts in which a batch is worked off one after the other; meanwhile `share` is this rank's of that part."""
    global _part, _num_parts
    try:
        for _part in range(num_parts):
            _num_parts = num_parts
            yield _part
    finally:
        _part, _num_parts = 0, 1


def share(batch: Sequence[int], sizes: Sequence[int] | None = None) -> Share:
    """This rank's share of a batch that is not empty.

    Args:
        batch: indices of the batch's examples; of `num_ranks` ranks each takes every `num_ranks`-th, so that like lengths are spread
            evenly, and so do the parts.
        sizes: of all examples, where the mean is over their parts (tokens) and not over the examples.
    """
    mine = list(batch[_part * _num_ranks + _rank :: _num_parts * _num_ranks])
    size, whole = (sum(1 if sizes is None else sizes[index] for index in part) for part in (mine, batch))
    return Share(mine or list(batch[:1]), size / whole)


def add_up(values: "Tensor") -> "Tensor":
    """The sum over ranks of a tensor on the CPU."""
    if _num_ranks > 1:
        import torch.distributed

        torch.distributed.all_reduce(values)
    return values
