"""Verdicts for the tests of what shows them: one of each kind."""

from math import nan

from apo_bench.claims.inference import Inferred
from apo_bench.claims.paper import paper_claims
from apo_bench.claims.results import NOT_TESTED, Family, TestedClaim, TestedContrast, Verdicts, outcomes

SAID = {0: (0.5, "reproduced"), 1: (-0.5, "not reproduced"), 2: (0.0, "no difference beyond d")}


def claimed(params, num_seeds: int = 8) -> Verdicts:
    """Of a run's claims the first is reproduced, the second contradicted, in the third is nothing, the others are undecided or, if the run
    cannot, not tested; with fewer than five seeds all that could be tested are undecided."""
    families = []
    for outcome in outcomes(params):
        claims = [claim for claim in paper_claims(params.run, outcome) if not families or claim.is_about_policies]
        families.append(Family(outcome, [_tested(claim, number, num_seeds) for number, claim in enumerate(claims)]))
    return Verdicts(families, num_seeds, 0.95, params.claims)


def _tested(claim, number, num_seeds):
    if not claim.contrasts:
        return TestedClaim(claim, NOT_TESTED, None, ())
    value, verdict = SAID.get(number, (0.0, "undecided"))
    spread = 0.25 if num_seeds > 1 else nan
    p_values = (0.0001 if value > 0 else 0.9, 0.0001 if value < 0 else 0.1, 1.0)
    inferred = Inferred(value, value - spread, value + spread, spread / 2, 7.0, 0.1, num_seeds, *p_values)
    if num_seeds < 5:
        contrasts = tuple(TestedContrast(contrast, inferred, None) for contrast in claim.contrasts)
        return TestedClaim(claim, "undecided", 1.0, contrasts, None, f"{num_seeds} seeds decide nothing, it takes 5")
    contrasts = tuple(TestedContrast(contrast, inferred, 0.375) for contrast in claim.contrasts)
    return TestedClaim(claim, verdict, 0.0004, contrasts, 40 if verdict == "undecided" else None)
