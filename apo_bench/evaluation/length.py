"""Scores at equal length: what a reward model would say of responses as long as those they are compared with.

Shape suffixes: A policies, P prompts.
"""

import numpy as np


def length_slope(scores_AP: np.ndarray, lengths_AP: np.ndarray) -> float:
    """What a score gains a token, by a regression on length within prompts and within policies.

    Effects of prompts are taken out, as some ask for longer responses, and those of policies, so that what a policy gains by other means is
    not put down to its length. What is left are responses longer or shorter than this policy's usual and this prompt's usual ones.

    Args:
        scores_AP: [A, P] a score a response.
        lengths_AP: [A, P] its tokens.

    Source: the two-way within estimator (Wooldridge 2010, ch. 10); for judges, Dubois et al. 2024 (length-controlled AlpacaEval).
    """
    within_scores_AP, within_lengths_AP = _within(scores_AP), _within(lengths_AP)
    squares = (within_lengths_AP**2).sum()
    return float((within_lengths_AP * within_scores_AP).sum() / squares) if squares > 0 else 0.0


def _within(values_AP: np.ndarray) -> np.ndarray:
    return values_AP - values_AP.mean(axis=0) - values_AP.mean(axis=1, keepdims=True) + values_AP.mean()
