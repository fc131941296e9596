"""The gold scorer as a judge, with noise and a bias for the first position: known faults, for the audit to find."""

import json

import numpy as np

from apo_bench.chat.ledger import LedgerRow
from apo_bench.config.judge_sections import GoldJudge
from apo_bench.core.seeds import derive_seed
from apo_bench.data.gold import gold_rewards
from apo_bench.judge.questions import Question

TIE_MARGIN = 0.25
"""Gold points up to which two answers count as equally good: the smallest charge of the gold scorer."""


def gold_row(question: Question, settings: GoldJudge, seed: int) -> LedgerRow:
    """The ledger's row of gold's answer; the noise depends on the question and the seed alone.

    Raises:
        DataError: the dialogue is not one of the embedded corpus.
    """
    rng = np.random.default_rng(derive_seed(seed, "judge", question.prompt.key))
    first, second = np.array(gold_rewards(question.dialogue, [question.first, question.second])) + rng.normal(0, settings.noise, size=2)
    margin = first + settings.position_bias - second
    verdict = "tie" if abs(margin) <= TIE_MARGIN else "A" if margin > 0 else "B"
    reasoning = f"A is worth {first:.2f} points and {settings.position_bias:.2f} for standing first, B {second:.2f}."
    return {
        "key": question.prompt.key,
        "id": question.id,
        "model": "gold",
        "served_model": "gold",
        "response": json.dumps({"reasoning": reasoning, "verdict": verdict}),
        "finish_reason": "stop",
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "usd": 0.0,
    }
