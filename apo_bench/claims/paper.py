"""The twelve claims, and two of our own, as contrasts of what a run has: sums of cells that are positive if things are as claimed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from apo_bench.config.sections import Run
from apo_bench.core.layout import BASE, BASE_AFTER_GOLDEN, FIRST_ROUND, NO_ADVERSARIAL, START_ROUND

METHODS = ("rjs", "rrhf", "dpo")
"""The paper's; others of a run are no part of its claims."""
APO = "adversarial"
KINDS = {NO_ADVERSARIAL: "AB", BASE_AFTER_GOLDEN: "base after SFT on golden"}
Outcome = Literal["gold", "RM_all", "RM_all at equal length", "judge"]
"""What says how good a policy is."""
Measure = Literal["gold", "RM_all", "RM_all at equal length", "judge", "accuracy", "squared calibration error"]


class PolicyCell(NamedTuple):
    """Scores of an arm's test responses after a round, or of a reference's (method is then its name, reward_model empty)."""

    method: str
    reward_model: str
    round: str


class RewardCell(NamedTuple):
    """Margins, on the human test pairs, of the reward model that trains an arm in a round (method empty: RM_base)."""

    method: str
    reward_model: str
    round: str


Terms = tuple[tuple[float, PolicyCell], ...] | tuple[tuple[float, RewardCell], ...]


@dataclass(frozen=True)
class Contrast:
    """A sum of cells that the claim says is positive."""

    words: str
    measure: Measure
    terms: Terms

    @property
    def weight(self) -> float:
        """The sum of its squared weights: how much it varies if all cells do alike."""
        return sum(share**2 for share, _ in self.terms)


@dataclass(frozen=True)
class Claim:
    """What the paper says, and the contrasts that all have to be positive for it."""

    name: str
    words: str
    contrasts: tuple[Contrast, ...]
    missing: tuple[str, ...] = ()
    """What the run lacks to test it; there are no contrasts then."""

    @property
    def is_about_policies(self) -> bool:
        """Whether what it says depends on the outcome."""
        return bool(self.policies)

    @property
    def policies(self) -> set[PolicyCell]:
        """All that it is about."""
        return {cell for contrast in self.contrasts for _, cell in contrast.terms if isinstance(cell, PolicyCell)}


def paper_claims(run: Run, outcome: Outcome) -> list[Claim]:
    """C1 to C12 for the methods, reward models and rounds of a run, then APO's effect over the methods: against RM_base, as C1 to C3 taken
    together, against the reward model that is trained as long on human pairs alone (AB), and against RM_base for policies that have been
    fine-tuned on the golden responses, so that both sides have had them (GOLDEN)."""
    methods = [method for method in METHODS if method in run.methods]
    first, last = run.rounds[0], run.rounds[-1]
    rms = Rewards(methods, run)
    return [
        *(
            _beats(f"C{number}", f"APO beats the fixed reward model with {method.upper()}", [method], BASE, run, outcome)
            for number, method in enumerate(METHODS, start=1)
        ),
        _claim(
            "C4",
            "APO's reward model is more accurate on human pairs than RM_base, and more so with the rounds",
            rms.needs(APO, later_rounds=True),
            lambda: (
                rms.contrast(f"APO's after {last} over RM_base", "accuracy", (APO, last), None),
                rms.contrast(f"APO's after {last} over APO's after {first}", "accuracy", (APO, last), (APO, first)),
            ),
        ),
        _claim(
            "C5",
            "The price: APO's reward model is less calibrated than RM_base",
            rms.needs(APO),
            lambda: (rms.contrast(f"APO's after {last} over RM_base", "squared calibration error", (APO, last), None),),
        ),
        _claim(
            "C6",
            "Without human pairs (GAIL) accuracy falls below RM_base's and calibration is lost",
            rms.needs("gail"),
            lambda: (
                rms.contrast(f"RM_base over GAIL's after {last}", "accuracy", None, ("gail", last)),
                rms.contrast(f"GAIL's after {last} over RM_base", "squared calibration error", ("gail", last), None),
            ),
        ),
        _claim(
            "C7",
            "The plain difference (WGAN) costs accuracy and calibration",
            rms.needs(APO, "wgan"),
            lambda: (
                rms.contrast(f"APO's over WGAN's after {last}", "accuracy", (APO, last), ("wgan", last)),
                rms.contrast(f"WGAN's over APO's after {last}", "squared calibration error", ("wgan", last), (APO, last)),
            ),
        ),
        _claim(
            "C8",
            "Without the game (AB), trained as long, the gain in accuracy is gone",
            rms.needs(APO, NO_ADVERSARIAL),
            lambda: (rms.contrast(f"APO's over AB's after {last}", "accuracy", (APO, last), (NO_ADVERSARIAL, last)),),
        ),
        _claim(
            "C9",
            "Going on from last round's reward model hurts calibration, and the policy by the last round",
            rms.needs(APO, "sequential", later_rounds=True),
            lambda: (
                rms.contrast(f"sequential over APO's after {last}", "squared calibration error", ("sequential", last), (APO, last)),
                Contrast(
                    f"policies of APO over sequential after {last}",
                    outcome,
                    tuple(
                        (sign / len(methods), PolicyCell(method, kind, last))
                        for sign, kind in ((1, APO), (-1, "sequential"))
                        for method in methods
                    ),
                ),
            ),
        ),
        _claim(
            "C10",
            "The gap between APO and the fixed reward model widens with the rounds (RJS)",
            [*_missing(run, ["rjs"], [APO]), *_no_rounds(run)],
            lambda: (
                Contrast(
                    f"RJS's gap after {last} over {first}",
                    outcome,
                    tuple(
                        (sign * step, PolicyCell("rjs", kind, round_id))
                        for sign, kind in ((1.0, APO), (-1.0, BASE))
                        for step, round_id in ((1, last), (-1, first))
                    ),
                ),
            ),
        ),
        _claim(
            "C11",
            "DPO is better than RRHF, and RRHF than RJS, with either reward model",
            _missing(run, METHODS, [APO]),
            lambda: tuple(
                Contrast(
                    f"{better.upper()} over {worse.upper()} with {kind}, {last}",
                    outcome,
                    ((1.0, PolicyCell(better, kind, last)), (-1.0, PolicyCell(worse, kind, last))),
                )
                for kind in (BASE, APO)
                for better, worse in (("dpo", "rrhf"), ("rrhf", "rjs"))
            ),
        ),
        _claim(
            "C12",
            "Golden responses used through APO (RRHF, DPO) beat fine-tuning on them",
            _missing(run, ["rrhf", "dpo"], [APO]),
            lambda: tuple(
                Contrast(
                    f"{method.upper()} with APO after {last} over SFT on golden",
                    outcome,
                    ((1.0, PolicyCell(method, APO, last)), (-1.0, PolicyCell("golden", "", START_ROUND))),
                )
                for method in ("rrhf", "dpo")
            ),
        ),
        _beats("APO", "APO beats the fixed reward model over the methods", methods, BASE, run, outcome),
        _beats("AB", "APO beats a reward model that is trained as long on human pairs alone", methods, NO_ADVERSARIAL, run, outcome),
        _beats("GOLDEN", "APO beats the fixed reward model after SFT on the golden responses", methods, BASE_AFTER_GOLDEN, run, outcome),
    ]


class Rewards:
    """Contrasts of reward models, each a mean over the paper's methods that the run has."""

    def __init__(self, methods: Sequence[str], run: Run) -> None:
        self._methods, self._run = methods, run

    def needs(self, *kinds: str, later_rounds: bool = False) -> list[str]:
        """What of it the run lacks."""
        without_methods = [] if self._methods else [f"method among {', '.join(METHODS)}"]
        return [*without_methods, *_missing(self._run, [], kinds), *(_no_rounds(self._run) if later_rounds else [])]

    def contrast(
        self,
        words: str,
        measure: Literal["accuracy", "squared calibration error"],
        one: tuple[str, str] | None,
        other: tuple[str, str] | None,
    ) -> Contrast:
        """One reward model, a kind after a round, minus another; None for RM_base."""
        terms = [(sign * share, cell) for sign, which in ((1, one), (-1, other)) for share, cell in self._cells(which)]
        return Contrast(words, measure, tuple(terms))

    def _cells(self, which: tuple[str, str] | None) -> Iterable[tuple[float, RewardCell]]:
        if which is None:
            return [(1.0, RewardCell("", BASE, START_ROUND))]
        kind, round_id = which
        if round_id == FIRST_ROUND or kind in self._run.fixed_reward_models:  # made once for all methods
            return [(1.0, RewardCell(self._methods[0], kind, round_id))]
        return [(1 / len(self._methods), RewardCell(method, kind, round_id)) for method in self._methods]


def _beats(name: str, words: str, methods: Sequence[str], kind: str, run: Run, outcome: Outcome) -> Claim:
    """The mean over methods of APO's policies minus those of another reward model, after the last round."""
    last, share = run.rounds[-1], 1 / max(1, len(methods))
    terms = tuple((sign * share, PolicyCell(method, rm, last)) for sign, rm in ((1, APO), (-1, kind)) for method in methods)
    which = methods[0].upper() if len(methods) == 1 else "policies"
    lacking = [] if methods else [f"method among {', '.join(METHODS)}"]
    return _claim(
        name,
        words,
        [*lacking, *_missing(run, methods, [APO, kind])],
        lambda: (Contrast(f"{which} with APO over with {KINDS.get(kind, kind)}, {last}", outcome, terms),),
    )


def _claim(name: str, words: str, missing: Iterable[str], contrasts: Callable[[], tuple[Contrast, ...]]) -> Claim:
    lacking = tuple(missing)
    return Claim(name, words, () if lacking else contrasts(), lacking)


def _missing(run: Run, methods: Iterable[str], kinds: Iterable[str]) -> list[str]:
    found = [f"method {method}" for method in methods if method not in run.methods]
    return found + [f"reward model {kind}" for kind in kinds if kind not in run.reward_models]


def _no_rounds(run: Run) -> list[str]:
    return [] if run.later_rounds else ["round after r1"]
