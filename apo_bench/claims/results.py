"""The verdicts on the paper's claims for one run, as numbers and as text."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from apo_bench.claims.evidence import Evidence, Margins
from apo_bench.claims.inference import (
    CONTRADICTED,
    EQUIVALENT,
    REPRODUCED,
    UNDECIDED,
    Inferred,
    Verdict,
    detectable_effect,
    infer,
    seeds_needed,
    verdicts,
)
from apo_bench.claims.looks import Design
from apo_bench.claims.own import WORDS, own_claims
from apo_bench.claims.paper import Claim, Contrast, Outcome, paper_claims
from apo_bench.config.params import Params
from apo_bench.config.sections import Claims

NOT_TESTED = "not tested"


@dataclass(frozen=True)
class TestedContrast:
    """A contrast with what the run says of it."""

    contrast: Contrast
    inferred: Inferred
    detectable: float | None
    """The true contrast that a run like this finds in 80 % of cases, at the strictest level of the family; None if it decides nothing."""


@dataclass(frozen=True)
class TestedClaim:
    """A claim and what became of it."""

    claim: Claim
    verdict: str
    p_value: float | None
    """One-sided, adjusted for looks and over the family, of what the verdict says; of an undecided claim the least of the three."""
    contrasts: tuple[TestedContrast, ...]
    num_seeds_needed: int | None = None
    """Of an undecided claim: about how many it would take if its contrasts are what they seem; None if no number would do."""
    waits: str = ""
    """Why nothing can be decided at this number of seeds, if so."""

    @property
    def reason(self) -> str:
        """Why, in a line."""
        if self.verdict == NOT_TESTED:
            return f"the run has no {', no '.join(self.claim.missing)}"
        if self.verdict == REPRODUCED:
            return ("as claimed" if len(self.contrasts) == 1 else "all as claimed") + self._small
        if self.verdict == CONTRADICTED:
            return f"the opposite: {min(self.contrasts, key=lambda tested: tested.inferred.p_below).contrast.words}{self._small}"
        if self.verdict == EQUIVALENT:
            return "within ± d"
        if self.waits:
            return self.waits
        if self.num_seeds_needed is None:
            return "no number of seeds would tell if it is what it seems"
        return f"about {self.num_seeds_needed} seeds would tell if it is what it seems"

    @property
    def _small(self) -> str:
        within = all(-one.inferred.smallest < one.inferred.low and one.inferred.high < one.inferred.smallest for one in self.contrasts)
        return ", though less than d" if within else ""


@dataclass(frozen=True)
class Family:
    """Claims whose errors are kept together, policies judged by one outcome."""

    outcome: Outcome
    claims: list[TestedClaim]

    @property
    def num_tested(self) -> int:
        """Claims that the run can test."""
        return sum(claim.verdict != NOT_TESTED for claim in self.claims)


@dataclass(frozen=True)
class Verdicts:
    """The verdicts on all claims of a run."""

    families: list[Family]
    """The primary outcome's first, of all claims; then those of other outcomes, of the claims about policies."""
    num_seeds: int
    confidence: float
    settings: Claims
    own: list[Family] = field(default_factory=list)
    """The same of policies of one's own, against SFT and the arms: families of their own, so that they change nothing above."""

    @property
    def primary(self) -> Family:
        """The family of the primary outcome."""
        return self.families[0]

    @property
    def note(self) -> str:
        """What the verdicts generalise over, and how they are made."""
        seeds = f"{self.num_seeds} seed{'s' if self.num_seeds > 1 else ''}"
        least, level = self.settings.min_seeds, (1 - self.confidence) / 2
        if self.num_seeds < least:
            return f"{seeds}: nothing is decided with fewer than {least}."
        looks = f", for looks at {', '.join(map(str, self.settings.looks))} seeds" if self.settings.looks else ""
        return (
            f"{seeds}, each with labels, SFT, reward models and samples of its own; base model, prompts and corpus are one. p is adjusted "
            f"by Holm over {self.primary.num_tested} claims{looks}, and compared with {level:g}, of no difference with {2 * level:g}. "
            f"d is {self.settings.smallest_effect:g} standard deviations of SFT’s scores, {100 * self.settings.smallest_accuracy_effect:g} "
            "points of accuracy, for calibration their square."
        )

    def summary(self) -> dict[str, Any]:
        """As report/summary.json holds it."""
        return {
            "num_seeds": self.num_seeds,
            "note": self.note,
            "looks": self.settings.looks,
            "primary": self.primary.outcome,
            "families": _families_summary(self.families),
            **({"own": _families_summary(self.own, WORDS)} if self.own else {}),
        }


def _families_summary(families: list[Family], words: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    return {family.outcome: {tested.claim.name: _summary(tested, words) for tested in family.claims} for family in families}


def _summary(tested: TestedClaim, words: Mapping[str, str]) -> dict[str, Any]:
    return {
        "claim": tested.claim.words,
        "verdict": words.get(tested.verdict, tested.verdict),
        "p": tested.p_value,
        "why": tested.reason,
        "num_seeds_needed": tested.num_seeds_needed,
        "contrasts": [
            {"contrast": one.contrast.words, "measure": one.contrast.measure, **_known(asdict(one.inferred)), "detectable": one.detectable}
            for one in tested.contrasts
        ],
    }


def _known(numbers: dict[str, float]) -> dict[str, float | None]:
    """JSON knows no NaN."""
    return {key: None if math.isnan(value) else value for key, value in numbers.items()}


def outcomes(params: Params) -> tuple[Outcome, ...]:
    """What says how good a policy is, the primary one first: gold where it is known; else RM_all, and a judge if it judges all seeds."""
    if params.has_gold:
        return "gold", "RM_all", "RM_all at equal length"
    is_judged = params.run.rounds[-1] in params.judge.rounds and set(params.run.seeds) <= set(params.judge.seeds)
    return "RM_all", "RM_all at equal length", *(("judge",) if is_judged else ())


def _claims_of(params: Params, outcome: Outcome) -> list[Claim]:
    """The claims about policies that an outcome can say something of: a judge those about arms in the rounds that it judges."""
    claims = [claim for claim in paper_claims(params.run, outcome) if claim.is_about_policies]
    if outcome != "judge":
        return claims
    return [claim for claim in claims if all(cell.reward_model and cell.round in params.judge.rounds for cell in claim.policies)]


def read_verdicts(results: Path, params: Params, columns: Mapping[tuple[str, str], Mapping[str, np.ndarray]], margins: Margins) -> Verdicts:
    """Tests the claims on a run's results; arguments as of `Evidence`.

    Raises:
        MissingInputError: the margins of a reward model are not there.
        DataError: they are of other pairs.
    """
    evidence = Evidence(results, params, columns, margins)
    first, *others = outcomes(params)
    families = {first: paper_claims(params.run, first)} | {outcome: _claims_of(params, outcome) for outcome in others}
    by_score: list[Outcome] = [outcome for outcome in (first, *others) if outcome != "judge"]  # which judges arms alone
    own: dict[Outcome, list[Claim]] = {outcome: own_claims(params.run, params.references.own, outcome) for outcome in by_score}
    return Verdicts(
        _families(evidence, params, families),
        len(params.run.seeds),
        params.compare.confidence,
        params.claims,
        _families(evidence, params, own) if params.references.own else [],
    )


def _families(evidence: Evidence, params: Params, families: Mapping[Outcome, list[Claim]]) -> list[Family]:
    """Claims by outcome, tested together: their variances are drawn towards each other's."""
    design, confidence = design_of(params.claims), params.compare.confidence
    contrasts = list(dict.fromkeys(one for claims in families.values() for claim in claims for one in claim.contrasts))
    inferred = dict(zip(contrasts, _infer(evidence, contrasts, design, confidence), strict=True)) if contrasts else {}
    waits = waiting(design, len(params.run.seeds))
    return [Family(outcome, _tested(claims, inferred, design, confidence, waits)) for outcome, claims in families.items()]


def design_of(claims: Claims) -> Design:
    """When one looks."""
    return Design(tuple(claims.looks), claims.min_seeds)


def waiting(design: Design, num_seeds: int) -> str:
    """Why nothing new can be decided at this number of seeds; empty if it can."""
    if num_seeds < design.min_seeds:
        return f"{num_seeds} seed{'s decide' if num_seeds > 1 else ' decides'} nothing, it takes {design.min_seeds}"
    if not design.looks or num_seeds in design.looks:
        return ""
    look = design.next_look(num_seeds)
    return f"the next look is at {look} seeds" if look else f"the last look was at {design.looks[-1]} seeds"


def _infer(evidence: Evidence, contrasts: list[Contrast], design: Design, confidence: float) -> list[Inferred]:
    values_KS = np.stack([evidence.values_S(contrast) for contrast in contrasts])
    kinds = [contrast.measure for contrast in contrasts]
    smallest = {kind: evidence.smallest(kind) for kind in dict.fromkeys(kinds)}
    weights_K, smallest_K = np.array([contrast.weight for contrast in contrasts]), np.array([smallest[kind] for kind in kinds])
    return infer(values_KS, kinds, weights_K, smallest_K, design, confidence)


def _tested(claims: list[Claim], inferred: Mapping[Contrast, Inferred], design: Design, confidence: float, waits: str) -> list[TestedClaim]:
    testable = {claim.name: [inferred[contrast] for contrast in claim.contrasts] for claim in claims if claim.contrasts}
    found: dict[str, Verdict] = dict(zip(testable, verdicts(list(testable.values()), confidence), strict=True))
    num_open = max(1, sum(verdict.word == UNDECIDED for verdict in found.values()))
    tested = []
    for claim in claims:
        if claim.name not in found:
            tested.append(TestedClaim(claim, NOT_TESTED, None, ()))
            continue
        verdict, mine = found[claim.name], testable[claim.name]
        is_open = verdict.word == UNDECIDED
        levels = [_last_level(design, share * (1 - confidence) / num_open) for share in (0.5, 1.0)]
        tested.append(
            TestedClaim(
                claim,
                verdict.word,
                verdict.p_value,
                tuple(
                    TestedContrast(contrast, one, _detectable(one, design, (1 - confidence) / 2 / len(found)))
                    for contrast, one in zip(claim.contrasts, mine, strict=True)
                ),
                seeds_needed(mine, *levels) if is_open and mine[0].num_seeds >= design.min_seeds else None,
                waits if is_open else "",
            )
        )
    return tested


def _last_level(design: Design, level: float) -> float:
    return design.nominal_level(level, design.looks[-1]) if design.looks else level


def _detectable(one: Inferred, design: Design, level: float) -> float | None:
    taken = design.taken(one.num_seeds)
    return detectable_effect(one, design.nominal_level(level, taken[-1])) if taken else None
