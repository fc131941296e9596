"""Sampling in the stage's own process, by `transformers` and what `engines/in_process.py` makes faster of it."""

from pathlib import Path

from apo_bench.config.compute_sections import Compute, Sampler
from apo_bench.config.sections import Sampling


class InProcess(Sampler):
    """It has no settings of its own: `compute` says all."""

    def generate(
        self,
        policy: Path,
        end_token_id: int,
        prompts: list[list[int]],
        settings: Sampling,
        seeds: list[int],
        compute: Compute,
        title: str,
    ) -> list[list[list[int]]]:
        """See `Sampler`."""
        from apo_bench.engines.in_process import generate  # imports transformers, seconds, which reading params can do without
        from apo_bench.models.language_model import load_language_model

        return generate(load_language_model(policy, compute), end_token_id, prompts, settings, seeds, title)


SAMPLER = InProcess
