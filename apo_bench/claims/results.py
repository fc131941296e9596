"""The verdicts on the paper's claims for one run, as numbers and as text."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from apo_bench.claims.evidence import Evidence
from apo_bench.claims.inference import MIN_SEEDS, Inferred, minimum_detectable_effect, verdicts
from apo_bench.claims.paper import Claim, Contrast, paper_claims
from apo_bench.core.config import Params
from apo_bench.evaluation.statistics import PromptBootstrap

NOT_TESTED = "not tested"


@dataclass(frozen=True)
class TestedContrast:
    """A contrast with what the run says of it."""

    contrast: Contrast
    inferred: Inferred
    detectable: float
    """The true contrast that a run like this finds in 80 % of cases, at the strictest level of the family."""


@dataclass(frozen=True)
class TestedClaim:
    """A claim and what became of it."""

    claim: Claim
    verdict: str
    p_value: float | None
    """One-sided, adjusted over the family; for `not reproduced` that of the opposite."""
    contrasts: tuple[TestedContrast, ...]

    @property
    def reason(self) -> str:
        """Why, in a line."""
        if self.verdict == NOT_TESTED:
            return f"the run has no {', no '.join(self.claim.missing)}"
        if self.verdict == "reproduced":
            return "as claimed" if len(self.contrasts) == 1 else "all as claimed"
        if self.verdict == "not reproduced":
            return f"the opposite: {min(self.contrasts, key=lambda tested: tested.inferred.p_below).contrast.words}"
        return f"cannot be told from nothing: {max(self.contrasts, key=lambda tested: tested.inferred.p_above).contrast.words}"


@dataclass(frozen=True)
class Verdicts:
    """The verdicts on all claims of a run."""

    claims: list[TestedClaim]
    num_seeds: int
    confidence: float

    @property
    def note(self) -> str:
        """What the intervals cover."""
        family = sum(claim.verdict != NOT_TESTED for claim in self.claims)
        seeds = f"{self.num_seeds} seed{'s' if self.num_seeds > 1 else ''}"
        covered = f"{seeds}: the seed variance is not covered, which takes {MIN_SEEDS} or more."
        if self.num_seeds >= MIN_SEEDS:
            covered = f"{seeds} of the game; data, base model, SFT and RM_base have one, whose variance is not covered."
        return f"{covered} p is one-sided, adjusted by Holm over {family} claims, and compared with {(1 - self.confidence) / 2:g}."

    def summary(self) -> dict[str, Any]:
        """As report/summary.json holds it."""
        found = {}
        for tested in self.claims:
            contrasts = [
                {"contrast": one.contrast.words, "measure": one.contrast.measure, **asdict(one.inferred), "detectable": one.detectable}
                for one in tested.contrasts
            ]
            found[tested.claim.name] = {
                "claim": tested.claim.words,
                "verdict": tested.verdict,
                "p": tested.p_value,
                "why": tested.reason,
                "contrasts": contrasts,
            }
        return {"num_seeds": self.num_seeds, "note": self.note, "claims": found}


def read_verdicts(
    results: Path, params: Params, columns: Mapping[tuple[str, str], Mapping[str, np.ndarray]], bootstrap: PromptBootstrap
) -> Verdicts:
    """Tests the claims on a run's results; arguments as of `Evidence`.

    Raises:
        MissingInputError: the margins of a reward model are not there.
        DataError: they are of other pairs.
    """
    evidence, confidence = Evidence(results, params, columns, bootstrap), params.compare.confidence
    claims = paper_claims(params.run)
    inferred = {claim.name: tuple(map(evidence.infer, claim.contrasts)) for claim in claims if claim.contrasts}
    found = dict(zip(inferred, verdicts(list(inferred.values()), confidence), strict=True))
    level = (1 - confidence) / 2 / max(1, len(inferred))
    tested = []
    for claim in claims:
        verdict, p_value = found.get(claim.name, (NOT_TESTED, None))
        contrasts = tuple(
            TestedContrast(contrast, one, minimum_detectable_effect(one, level))
            for contrast, one in zip(claim.contrasts, inferred.get(claim.name, ()), strict=True)
        )
        tested.append(TestedClaim(claim, verdict, p_value, contrasts))
    return Verdicts(tested, len(params.run.seeds), confidence)
