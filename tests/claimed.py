"""Verdicts for the tests of what shows them: one of each kind."""

from apo_bench.claims.inference import Inferred, Spread
from apo_bench.claims.paper import paper_claims
from apo_bench.claims.results import NOT_TESTED, TestedClaim, TestedContrast, Verdicts


def claimed(params, num_seeds: int = 1) -> Verdicts:
    """Of a run's claims the first is reproduced, the second contradicted, the others undecided or, if the run cannot, not tested."""
    found = []
    for number, claim in enumerate(paper_claims(params.run)):
        value, verdict = {0: (0.5, "reproduced"), 1: (-0.5, "not reproduced")}.get(number, (0.0, "undecided"))
        spread = Spread(0.125**2, 0.0, 500, 1)
        inferred = Inferred(value, value - 0.25, value + 0.25, 0.125, spread, 0.0001 if value > 0 else 0.9, 0.0001 if value < 0 else 0.1)
        contrasts = tuple(TestedContrast(contrast, inferred, 0.375) for contrast in claim.contrasts)
        found.append(TestedClaim(claim, *((verdict, 0.0004) if contrasts else (NOT_TESTED, None)), contrasts))
    return Verdicts(found, num_seeds, 0.95)
