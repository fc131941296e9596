"""How many fresh labels do what APO does, k*: gold at equal divergence from SFT against labels, method by method.

Shape suffixes: S replicates, D doses (numbers of labels a round), X points of the axis of labels, R rounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import stats
from scipy.optimize import isotonic_regression

from apo_bench.claims.paper import APO
from apo_bench.config.params import Params
from apo_bench.core.layout import NO_ADVERSARIAL, Arm
from apo_bench.evaluation.statistics import Estimate, over_replicates

Path = Mapping[str, Mapping[str, Estimate]]
"""Round -> metric -> estimate, over the prompts that every round answered, from SFT on."""
LABELS, SAMPLES = "labels", "samples"
"""What a reward model trains on, as `reward_models/player.py` calls it; to import it would make `compare` hang on the code of models."""
FRESH, STALE = "fresh", "stale"
"""Whose samples are labelled: those of the policy of the moment, or SFT's."""
MIN_DOSES = 3
"""Of fresh labels, for a curve."""
POINTS_A_STEP = 200
"""Of the axis, between two doses."""
NOT_TOLD = "labels are not known to help here, so nothing can be weighed in them"
MORE_THAN_ALL = "more than all tried"
NONE_AT_ALL = "worth no label"
BOUNDED, UNDECIDED = "between two numbers", "undecided"


@dataclass(frozen=True)
class LabelEquivalent:
    """What APO is worth in labels with one method: means over replicates, at the divergence from SFT that all of its policies reach."""

    num_rounds: int
    """As often k labels are bought."""
    divergence: float
    """The mean over replicates, in nats."""
    curves: dict[str, dict[int, Estimate]]
    """FRESH and STALE -> k, labels a round -> gold."""
    levels: dict[str, Estimate]
    """Reward model without labels -> gold."""
    freshness: dict[int, Estimate]
    """k -> gold with fresh labels minus gold with as many stale ones."""
    gain: Estimate
    """Gold with the most fresh labels minus gold with none."""
    k_star: float | None
    """Labels a round at which the fresh curve, made monotone, reaches APO's gold; None: at none that was tried."""
    low: float | None
    """The fewest labels a round that the run does not tell from APO; None: it is above all that were tried."""
    high: float | None
    """The most; None: the most that were tried, so that there is no upper end."""
    verdict: str
    """NOT_TOLD, MORE_THAN_ALL, NONE_AT_ALL, BOUNDED or UNDECIDED."""


def label_equivalents(params: Params, paths: Mapping[str, Path]) -> dict[str, LabelEquivalent]:
    """Method -> what APO is worth in labels; empty where gold is unknown, APO does not play, there is one replicate, or fewer than
    MIN_DOSES numbers of labels are tried, 0 among them.

    Args:
        params: all of params.yaml.
        paths: arm, of each replicate -> its path.
    """
    doses = label_doses(params)
    fresh = doses.get(FRESH, {})
    if not params.has_gold or APO not in params.run.retrained_reward_models or len(params.run.seeds) == 1:
        return {}
    if len(fresh) < MIN_DOSES or 0 not in fresh:
        return {}
    confidence = 1 - (1 - params.compare.confidence) / len(params.run.methods)
    return {method: _of_method(method, doses, params, paths, confidence) for method in params.run.methods}


def label_doses(params: Params) -> dict[str, dict[int, str]]:
    """FRESH and STALE -> k -> the reward model of the run that buys so many labels a round, the fewest first."""
    found: dict[str, dict[int, str]] = {}
    for name in params.run.retrained_reward_models:
        player = params.reward_model(name)
        if LABELS in player.trains_on:
            found.setdefault(FRESH if SAMPLES in player.trains_on else STALE, {})[player.num_labels] = name
    return {kind: dict(sorted(names.items())) for kind, names in found.items()}


def _of_method(
    method: str, doses: Mapping[str, Mapping[int, str]], params: Params, paths: Mapping[str, Path], confidence: float
) -> LabelEquivalent:
    """`confidence` is that of k* alone, what else is told keeps the run's."""
    run, told = params.run, params.compare.confidence
    buyers = [name for names in doses.values() for name in names.values()]
    without = [name for name in run.reward_models if name in (APO, NO_ADVERSARIAL, *run.gold_reward_models)]
    golds: dict[str, list[float]] = {}
    divergences: list[float] = []
    for seed in run.seeds:
        found = {name: _columns(paths[Arm(method, name, seed).name]) for name in (*without, *buyers)}
        divergences.append(min(float(found[name][0].max()) for name in (APO, *buyers)))
        for name, path in found.items():
            golds.setdefault(name, []).append(gold_at(*path, divergences[-1]))
    golds_S = {name: np.array(values) for name, values in golds.items()}
    fresh = {k: golds_S[name] for k, name in doses[FRESH].items()}
    stale = {k: golds_S[name] for k, name in doses.get(STALE, {}).items()}
    k_star, low, high, verdict = k_star_of(golds_S[APO], fresh, confidence)
    return LabelEquivalent(
        num_rounds=len(run.rounds),
        divergence=float(np.mean(divergences)),
        curves={
            kind: {k: over_replicates(values_S, told) for k, values_S in curve.items()}
            for kind, curve in ((FRESH, fresh), (STALE, stale))
            if curve
        },
        levels={name: over_replicates(golds_S[name], told) for name in without},
        freshness={k: over_replicates(fresh[k] - stale[k], told) for k in fresh if k in stale},
        gain=over_replicates(fresh[max(fresh)] - fresh[0], told),
        k_star=k_star,
        low=low,
        high=high,
        verdict=verdict if len(run.seeds) >= params.claims.min_seeds else UNDECIDED,
    )


def _columns(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Divergence from SFT and gold after each round, from the start on: [R + 1] each."""
    return np.array([found["kl_to_sft"].value for found in path.values()]), np.array([found["gold"].value for found in path.values()])


def gold_at(divergences_R: np.ndarray, golds_R: np.ndarray, divergence: float) -> float:
    """Gold where a path first reaches a divergence, straight between rounds; at its farthest round if it never does.

    Args:
        divergences_R: [R] from SFT, in nats, from the start on.
        golds_R: [R].
        divergence: where.
    """
    reached = np.flatnonzero(divergences_R >= divergence)
    if len(reached) == 0:
        return float(golds_R[divergences_R.argmax()])
    after = int(reached[0])
    if after == 0:
        return float(golds_R[0])
    before = after - 1
    share = (divergence - divergences_R[before]) / (divergences_R[after] - divergences_R[before])
    return float(golds_R[before] + share * (golds_R[after] - golds_R[before]))


def k_star_of(
    apo_S: np.ndarray, fresh: Mapping[int, np.ndarray], confidence: float
) -> tuple[float | None, float | None, float | None, str]:
    """The number of labels at which fresh labels do what APO does, with its confidence set.

    Between doses gold is taken to be straight over log(1 + k / k1), k1 the smallest dose that is not 0, in each replicate. A number of
    labels is in the set unless Student's t test over replicates tells APO's gold from that with so many labels; the set is told by its
    ends. Source: Fieller 1954, the ratio's interval by the test of a difference; the curve in the place of a straight line.

    Args:
        apo_S: [S] gold of APO's policy in each replicate.
        fresh: k -> [S] the same with k fresh labels a round.
        confidence: of the set.

    Returns:
        k*, where the mean curve, made monotone, reaches APO's mean (None: nowhere); the ends of the set (low None: APO is above all that
        were tried; high None: it has no upper end); and the verdict.
    """
    doses_D = np.array(sorted(fresh), dtype=np.float64)
    axis_D = _axis(doses_D)
    golds_SD = np.stack([fresh[int(k)] for k in doses_D], axis=1)
    axis_X = np.unique(np.concatenate([np.linspace(start, end, POINTS_A_STEP) for start, end in pairwise(axis_D)]))
    lead_SX = apo_S[:, None] - np.stack([np.interp(axis_X, axis_D, golds_D) for golds_D in golds_SD])
    half_X = stats.t.isf((1 - confidence) / 2, len(apo_S) - 1) * lead_SX.std(axis=0, ddof=1) / np.sqrt(len(apo_S))
    low_X, high_X = lead_SX.mean(axis=0) - half_X, lead_SX.mean(axis=0) + half_X
    like_X = (low_X <= 0) & (high_X >= 0)
    like_X[1:] |= ((low_X[:-1] > 0) & (high_X[1:] < 0)) | ((high_X[:-1] < 0) & (low_X[1:] > 0))  # between two points of the axis
    k_star = _crossing(axis_D, golds_SD.mean(axis=0), float(apo_S.mean()), doses_D)
    helps = over_replicates(golds_SD[:, -1] - golds_SD[:, 0], confidence).low > 0
    if (low_X > 0).all():
        return None, None, None, MORE_THAN_ALL
    if high_X[0] < 0:
        return 0.0, 0.0, 0.0, NONE_AT_ALL
    like = np.flatnonzero(like_X)
    low = _labels(axis_X[like[0]], doses_D)
    high = _labels(axis_X[like[-1]], doses_D) if like[-1] < len(axis_X) - 1 else None
    return k_star, low, high, NOT_TOLD if not helps else BOUNDED if high is not None else UNDECIDED


def _crossing(axis_D: np.ndarray, mean_D: np.ndarray, level: float, doses_D: np.ndarray) -> float | None:
    """Where the monotone curve reaches a level; the fewest labels if it starts above, None if it ends below."""
    curve_D = isotonic_regression(mean_D).x
    if level <= curve_D[0]:
        return float(doses_D[0])
    if level > curve_D[-1]:
        return None
    after = int(np.searchsorted(curve_D, level))
    share = (level - curve_D[after - 1]) / (curve_D[after] - curve_D[after - 1])
    return _labels(float(axis_D[after - 1] + share * (axis_D[after] - axis_D[after - 1])), doses_D)


def _axis(doses: np.ndarray) -> np.ndarray:
    return np.log1p(doses / _smallest(doses))


def _labels(place: float, doses_D: np.ndarray) -> float:
    """The inverse of `_axis`, without rounding's last digits."""
    return round(float(np.expm1(place) * _smallest(doses_D)), 6)


def _smallest(doses_D: np.ndarray) -> float:
    return float(doses_D[doses_D > 0].min())
