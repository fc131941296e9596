"""What makes a stage repeatable: seeds derived by name, so that adding an arm changes no other arm's numbers, and its threads."""

import hashlib


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed that depends on `seed` and on the names of what it is for (stage, arm, round, prompt).

    SHA-256 and not `hash()`, which differs from one Python process to the next.
    """
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def use_threads(num_threads: int) -> None:
    """Fixes the number of threads of a stage: results depend on it, so it comes from params and not from the machine."""
    import torch

    torch.set_num_threads(num_threads)
