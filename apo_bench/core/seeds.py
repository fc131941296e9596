"""What makes a stage repeatable: seeds derived by name, so that adding an arm changes no other arm's numbers, and its threads."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from apo_bench.core.layout import TEST_REWARD_MODEL


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed that depends on `seed` and on the names of what it is for (stage, arm, round, prompt).

    SHA-256 and not `hash()`, which differs from one Python process to the next.
    """
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def reward_seed(seed: int, name: str, what: str, member: int = 0) -> int:
    """The draws of a reward model's training, `head` and `order`, which those that train policies share within a replicate, but for further
    members of an ensemble.

    Arms are then compared with the least noise: what differs between their reward models is what they learn from. RM_all has its own.
    """
    return derive_seed(seed, "reward", TEST_REWARD_MODEL if name == TEST_REWARD_MODEL else "arms", what, *([member] if member else []))


def use_threads(num_threads: int) -> None:
    """Fixes the number of threads of a stage: results depend on it, so it comes from params and not from the machine."""
    import torch

    torch.set_num_threads(num_threads)


def use_one_order(is_wanted: bool) -> None:
    """On a GPU, sums are added up in the same order each time, so that the same work gives the same bytes.

    Must come before the GPU is first used, as cuBLAS reads its part of it but once
    (https://docs.pytorch.org/docs/stable/notes/randomness.html).
    """
    import torch

    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(is_wanted)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # it finds errors, and takes time


@contextmanager
def any_order() -> Iterator[None]:
    """Lifts `use_one_order` for inference, where PyTorch refuses a sum along rows for the sake of other shapes of it."""
    import torch

    was_wanted = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_wanted)
