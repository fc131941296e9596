"""Verdicts on simulated runs whose truth is known: how often they err, cover and find, and how many seeds they take.

python -m benchmarks.verdicts      # the tables of docs/claims.md

A run is the default's: its claims, with noise on each cell (a policy or a reward model in a seed), so that contrasts hang together as they
do there. Scores are in standard deviations of SFT's.

Shape suffixes: R runs, K contrasts, S seeds, C cells.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from apo_bench.claims.inference import EQUIVALENT, UNDECIDED, Inferred, adjusted_p_values, moderated_means, verdicts
from apo_bench.claims.looks import Design, Spending, pocock
from apo_bench.claims.paper import PolicyCell, paper_claims
from apo_bench.config.params import load_params

NUM_RUNS = 4000
CONFIDENCE = 0.95
MIN_SEEDS = 5
LOOKS = (6, 12, 24, 48)
SMALLEST = {"gold": 0.1, "accuracy": 0.02, "squared calibration error": 0.02**2}
DEVIATIONS = {"gold": 0.1, "accuracy": 0.01, "squared calibration error": 0.0005}
"""Of a cell over seeds. Of policies: differences between arms then have 0.14, amid the 0.06 to 0.22 that runs had."""
RUN = load_params(Path(__file__).parents[1] / "params.yaml").run
CLAIMS = [claim for claim in paper_claims(RUN, "gold") if claim.contrasts]
CONTRASTS = list(dict.fromkeys(contrast for claim in CLAIMS for contrast in claim.contrasts))
CELLS = list(dict.fromkeys((contrast.measure, cell) for contrast in CONTRASTS for _, cell in contrast.terms))
KINDS = [contrast.measure for contrast in CONTRASTS]
WEIGHTS_K = np.array([contrast.weight for contrast in CONTRASTS])
SMALLEST_K = np.array([SMALLEST[kind] for kind in KINDS])
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Of variance 1, as all draws."""
    return rng.normal(size=shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A gamma distribution with skewness 1."""
    return (rng.gamma(4.0, size=shape) - 4.0) / 2.0


def heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Student's t with 5 degrees of freedom."""
    return rng.standard_t(5, size=shape) / (5 / 3) ** 0.5


@dataclass(frozen=True)
class World:
    """How cells vary over seeds."""

    name: str
    draw: Draw = normal
    ratio: float = 1.0
    """Of the largest to the smallest standard deviation among methods."""
    shared: float = 0.0
    """Share of a cell's variance that all methods with its reward model have in common, as they share its draw."""

    def values(self, rng: np.random.Generator, num_runs: int, num_seeds: int) -> np.ndarray:
        """Contrasts of which none is there: [R, K, S]."""
        groups = list(dict.fromkeys((measure, cell.reward_model) for measure, cell in CELLS))
        common = {group: self.draw(rng, (num_runs, num_seeds)) for group in groups}
        factors = dict(zip(RUN.methods, np.geomspace(self.ratio**-0.5, self.ratio**0.5, len(RUN.methods)), strict=True))
        cells_CRS = np.stack(
            [
                DEVIATIONS[measure]
                * factors.get(cell.method, 1.0)
                * (self.shared**0.5 * common[measure, cell.reward_model] + (1 - self.shared) ** 0.5 * self.draw(rng, (num_runs, num_seeds)))
                for measure, cell in CELLS
            ]
        )
        weights_KC = np.zeros((len(CONTRASTS), len(CELLS)))
        for number, contrast in enumerate(CONTRASTS):
            for weight, cell in contrast.terms:
                weights_KC[number, CELLS.index((contrast.measure, cell))] += weight
        return np.einsum("kc,crs->rks", weights_KC, cells_CRS)


WORLDS = (
    World("as alike as contrasts can be"),
    World("methods unequal, 4 to 1", ratio=4.0),
    World("a reward model's draw shared by methods", shared=0.5),
    World("both", ratio=4.0, shared=0.5),
    World("skewed (1)", draw=skewed),
    World("heavy tails (t, 5 degrees)", draw=heavy),
)


def words(values_RKS: np.ndarray, design: Design) -> list[list[str]]:
    """The verdicts on all claims of each run."""
    above_RK, below_RK, equal_RK = adjusted_p_values(values_RKS, KINDS, WEIGHTS_K, SMALLEST_K, design)
    found = []
    for above_K, below_K, equal_K in zip(above_RK, below_RK, equal_RK, strict=True):
        of = {
            contrast: Inferred(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, values_RKS.shape[2], *map(float, p_values))
            for contrast, *p_values in zip(CONTRASTS, above_K, below_K, equal_K, strict=True)
        }
        claims = [[of[contrast] for contrast in claim.contrasts] for claim in CLAIMS]
        found.append([verdict.word for verdict in verdicts(claims, CONFIDENCE)])
    return found


def speaks_wrongly(found: Sequence[Sequence[str]]) -> float:
    """The share of runs that find anything where nothing is."""
    return float(np.mean([any(word not in (UNDECIDED, EQUIVALENT) for word in run) for run in found]))


def calls_equal(found: Sequence[Sequence[str]]) -> float:
    """The share of runs with any `no difference`."""
    return float(np.mean([any(word == EQUIVALENT for word in run) for run in found]))


def coverage(values_RKS: np.ndarray) -> float:
    """How often intervals hold 0, the mean over contrasts and runs."""
    value_RK, error_RK, degrees_RK = moderated_means(values_RKS, KINDS, WEIGHTS_K)
    return float((np.abs(value_RK) <= stats.t.isf((1 - CONFIDENCE) / 2, degrees_RK) * error_RK).mean())


def errors() -> None:
    """Family-wise errors, false equivalence at ± d, and coverage, with one look and with several."""
    designs = [("5", (), 5), ("6", (), 6), ("12", (), 12), ("24", (), 24), ("looks", LOOKS, LOOKS[-1])]
    for title, of in (
        ("anything found where nothing is, % of runs", "family"),
        ("“no difference” where all are ± d", "edge"),
        ("covered, %", "cover"),
    ):
        print(f"\n| {title} | {' | '.join(name for name, *_ in designs)} |\n|---|{'---:|' * len(designs)}")
        for world in WORLDS:
            cells = []
            for number, (_, looks, num_seeds) in enumerate(designs):
                values_RKS = world.values(np.random.default_rng(number), NUM_RUNS, num_seeds)
                signs_K = np.where(np.arange(len(CONTRASTS)) % 2, 1.0, -1.0)
                shift_RKS = (signs_K * SMALLEST_K)[:, None] if of == "edge" else 0.0
                design = Design(looks, MIN_SEEDS)
                if of == "cover":
                    share = coverage(values_RKS)
                elif of == "family":
                    share = speaks_wrongly(words(values_RKS, design))
                else:
                    share = calls_equal(words(values_RKS + shift_RKS, design))
                cells.append(f"{100 * share:.1f}")
            print(f"| {world.name} | {' | '.join(cells)} |")


def power() -> None:
    """How often C3 (one method) and APO (over the methods) are decided as they are, all policies' effects being the same."""
    effects, designs = (0.0, 0.1, 0.2, 0.3, 0.4), (5, 6, 12, 24, 48)
    for name in ("C3", "APO"):
        print(f"\n| {name}: effect of APO | {' | '.join(f'{number} seeds' for number in designs)} |\n|---|{'---:|' * len(designs)}")
        for effect in effects:
            cells = []
            for number in designs:
                values_RKS = WORLDS[2].values(np.random.default_rng(number), NUM_RUNS, number) + shifts(effect)[:, None]
                right = EQUIVALENT if effect == 0 else "reproduced"
                at = [claim.name for claim in CLAIMS].index(name)
                cells.append(f"{100 * np.mean([run[at] == right for run in words(values_RKS, Design((), MIN_SEEDS))]):.0f}")
            print(f"| {effect:g}{' (no difference)' if effect == 0 else ''} | {' | '.join(cells)} |")


def shifts(effect: float) -> np.ndarray:
    """What contrasts are if each policy of APO is better by this, whatever the method and round: [K]."""
    return np.array(
        [
            sum(
                weight * effect
                for weight, cell in contrast.terms
                if isinstance(cell, PolicyCell) and cell.reward_model == "adversarial" and cell.round == RUN.rounds[-1]
            )
            for contrast in CONTRASTS
        ]
    )


def o_brien_fleming(level: float, fraction: float) -> float:
    """Lan & DeMets 1983, one-sided."""
    return float(2 * stats.norm.sf(stats.norm.isf(level / 2) / fraction**0.5))


def proportional(level: float, fraction: float) -> float:
    """Kim & DeMets 1987, the power family with exponent 1."""
    return level * fraction


def seeds_to_verdicts() -> None:
    """The mean number of seeds until a claim has a verdict (the last look's where it has none), and the share that get one."""
    spendings: dict[str, Spending] = {"O'Brien-Fleming": o_brien_fleming, "Pocock": pocock, "proportional": proportional}
    effects = (0.0, 0.05, 0.1, 0.2, 0.4)
    at = [number for number, claim in enumerate(CLAIMS) if claim.name in ("C1", "C2", "C3", "APO", "AB")]
    print(f"\n| C1 to C3, APO, AB: seeds (decided, %) at an effect of | {' | '.join(f'{effect:g}' for effect in effects)} | mean |")
    print(f"|---|{'---:|' * (len(effects) + 1)}")
    for name, spending in spendings.items():
        cells, means = [], []
        for effect in effects:
            values_RKS = WORLDS[2].values(np.random.default_rng(0), NUM_RUNS, LOOKS[-1]) + shifts(effect)[:, None]
            taken = np.full((NUM_RUNS, len(CLAIMS)), LOOKS[-1])
            design, is_open = Design(LOOKS, MIN_SEEDS, spending), np.ones(taken.shape, dtype=bool)
            for look in LOOKS:
                is_decided = np.array(words(values_RKS[:, :, :look], design)) != UNDECIDED
                taken[is_open & is_decided] = look
                is_open &= ~is_decided
            means.append(taken[:, at].mean())
            cells.append(f"{means[-1]:.1f} ({100 * (1 - is_open[:, at].mean()):.0f})")
        print(f"| {name} | {' | '.join(cells)} | {np.mean(means):.1f} |")


def main() -> None:
    """All tables."""
    print(f"{NUM_RUNS} runs a setting; {len(CLAIMS)} claims of {len(CONTRASTS)} contrasts; looks at {', '.join(map(str, LOOKS))} seeds.")
    errors()
    power()
    seeds_to_verdicts()


if __name__ == "__main__":
    main()
