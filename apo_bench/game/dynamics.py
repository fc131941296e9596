"""Whether a game converges, cycles, forgets or diverges, read off the ledger with intervals.

The reward model of round i is trained against the samples of policy i - 1, and policy i is trained by it. A[i, j] is its accuracy on policy
j: how often it scores the golden response above the policy's, on prompts that neither was trained on.

- forgetting: the mean, over every reward model i and later one k, of A[i, i-1] - A[k, i-1]: what a later reward model has lost against a
  policy that an earlier one was trained against. Source: Lopez-Paz & Ranzato 2017 (GEM), backward transfer, negated. Departures: over all
  later models and not the last alone, which in a cycle may stand where the first one stood.
- giving_back: the mean, over every reward model i and policy j > i, of A[i, j] - A[i, i]: what later policies have lost by the lights of
  the reward model that policy i was trained by.
- edge_change: |A[N, N-1] - 1/2| - |A[1, 0] - 1/2|: what the last reward model tells of the policy before it, less what the first one told
  of SFT. Golden against golden is 1/2. Source: Goodfellow et al. 2014, Section 4.1: where the game has ended, the discriminator says 1/2.

Both sides losing to players of old is the intransitive game of Balduzzi et al. 2019 (rock, paper, scissors); the ledger itself is the
tournament between snapshots of Olsson et al. 2018. Shape suffixes: R reward models, Q policies, P prompts, D draws.
"""

from itertools import combinations

import numpy as np

from apo_bench.evaluation.statistics import Estimate
from apo_bench.judge.statistics import estimate, ratio

CHANCE = 0.5
MEASURES = ("forgetting", "giving_back", "edge_change")
CYCLES, FORGETS, CONVERGES, DIVERGES, UNDECIDED = "cycles", "forgets", "converges", "diverges", "undecided"


def measure_game(accuracies_RQP: np.ndarray, weights_DP: np.ndarray, confidence: float) -> dict[str, Estimate]:
    """The three measures with simultaneous intervals; none for a single round, which has nothing to be compared with.

    Args:
        accuracies_RQP: of the retrained reward models by round, on SFT and then on the policies by round: R = rounds, Q = rounds + 1.
        weights_DP: how often each prompt counts in each draw.
        confidence: of the three intervals together (Bonferroni), so that a game in which nothing happens is seldom called anything.
    """
    num_rounds = len(accuracies_RQP)
    if num_rounds < 2:
        return {}
    each = 1 - (1 - confidence) / len(MEASURES)
    pairs = list(combinations(range(num_rounds), 2))  # reward model i + 1 here is row i, and its opponent, policy i, column i
    columns = {
        "forgetting": [accuracies_RQP[i, i] - accuracies_RQP[later, i] for i, later in pairs],
        "giving_back": [accuracies_RQP[i, later + 1] - accuracies_RQP[i, i + 1] for i, later in pairs],
    }
    ones_P = np.ones(accuracies_RQP.shape[2])
    found = {name: estimate(ratio(np.mean(parts, axis=0), ones_P), weights_DP, each) for name, parts in columns.items()}
    first, last = (ratio(accuracies_RQP[i, i], ones_P) for i in (0, -1 + num_rounds))
    found["edge_change"] = estimate(lambda weights: abs(last(weights) - CHANCE) - abs(first(weights) - CHANCE), weights_DP, each)
    return {name: value for name, value in found.items() if value is not None}


def name_game(measures: dict[str, Estimate]) -> str:
    """What the intervals decide.

    cycles: reward models forget and policies give back. forgets: reward models forget; of the policies that is not decided. converges: the
    edge shrinks, and no forgetting is seen. diverges: the edge grows likewise. undecided: none of these.
    """
    if not measures:
        return UNDECIDED
    if measures["forgetting"].low > 0:
        return CYCLES if measures["giving_back"].low > 0 else FORGETS
    edge = measures["edge_change"]
    return CONVERGES if edge.high < 0 else DIVERGES if edge.low > 0 else UNDECIDED
