"""What a run says of policies of one's own: each against SFT and against every arm after the last round, as claims of one contrast."""

from collections.abc import Iterable

from apo_bench.claims.inference import CONTRADICTED, REPRODUCED
from apo_bench.claims.paper import Claim, Contrast, Outcome, PolicyCell
from apo_bench.config.sections import Run
from apo_bench.core.layout import SFT, START_ROUND

WORDS = {REPRODUCED: "better", CONTRADICTED: "worse"}
"""What verdicts are called where nothing was claimed by others."""


def own_claims(run: Run, policies: Iterable[str], outcome: Outcome) -> list[Claim]:
    """That a policy is better than another, for each of `policies`, references of one's own."""
    last = run.rounds[-1]
    others = {SFT.upper(): PolicyCell(SFT, "", START_ROUND)} | {
        f"{method.upper()} {kind}": PolicyCell(method, kind, last) for method in run.methods for kind in run.reward_models
    }
    return [
        Claim(
            f"{name} over {title}",
            f"{name} is better than {title}",
            (Contrast(f"{name} over {title}", outcome, ((1.0, PolicyCell(name, "", START_ROUND)), (-1.0, other))),),
        )
        for name in policies
        for title, other in others.items()
    ]
