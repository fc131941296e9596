"""The judgements of a run: an arm's round against an opponent, and the human pairs that the judge is tested on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apo_bench.config.params import Params
from apo_bench.core.errors import DataError
from apo_bench.core.files import complete_directory, read_jsonl, write_json, write_jsonl
from apo_bench.core.layout import LEDGERS
from apo_bench.core.records import AnswerRow
from apo_bench.core.schemas import Schema
from apo_bench.core.seeds import derive_seed
from apo_bench.data.gold import gold_rewards
from apo_bench.data.records import read_records
from apo_bench.judge.numbers import judgement_numbers
from apo_bench.judge.questions import JudgementRow, Matchup
from apo_bench.judge.verdicts import judge_matchups

ANSWERED = Schema(AnswerRow)
"""What a judge sees of test responses."""


def judge_responses(
    params: Params, responses: Path, opponent: Path, ledgers: Path, name: str, replay: bool
) -> tuple[list[JudgementRow], dict[str, Any]]:
    """Verdicts on a policy's test responses against an opponent's, and their numbers.

    Raises:
        MissingInputError: a file of responses is not there.
        DataError: it is broken, or the two are about different prompts.
        ApoBenchError: see `judge_matchups`.
    """
    own, other = (read_jsonl(file, ANSWERED) for file in (responses, opponent))
    other = other[: len(own)]  # earlier rounds answer the first prompts alone
    if [(row["id"], row["dialogue"]) for row in own] != [(row["id"], row["dialogue"]) for row in other]:
        raise DataError(f"{opponent}: not the prompts of {responses}; have both answer the same (dvc repro)")
    matchups = [
        Matchup(row["id"], row["subset"], row["dialogue"], row["response"], against["response"])
        for row, against in zip(own, other, strict=True)
    ]
    return _judge(params, matchups, ledgers, name, replay, {})


def judge_human_pairs(params: Params, pairs: Path, ledgers: Path, name: str, replay: bool) -> tuple[list[JudgementRow], dict[str, Any]]:
    """Verdicts on human pairs, the preferred response being the one whose wins count, and their numbers.

    Raises:
        ApoBenchError: the records are missing or broken, or see `judge_matchups`.
    """
    rows = read_records(pairs, "pairs")
    rng = np.random.default_rng(derive_seed(params.judge.seed, "judge", "human_pairs"))
    drawn = sorted(rng.permutation(len(rows))[: params.judge.num_human_pairs].tolist())
    chosen = (rows[index] for index in drawn)
    matchups = [Matchup(row["id"], row["subset"], row["dialogue"], row["chosen"], row["rejected"]) for row in chosen]
    return _judge(params, matchups, ledgers, name, replay, {"human": [1.0] * len(matchups)})


def shared_ledgers(ledger: Path, provider: str) -> tuple[Path, str]:
    """The folder of the ledgers that share a provider's budget, and the name of one of them below it."""
    folder = LEDGERS / provider
    return folder, ledger.relative_to(folder).with_suffix("").as_posix()


def write_judgement(rows: Sequence[JudgementRow], numbers: dict[str, Any], results: Path) -> str:
    """Writes verdicts.jsonl and metrics.json to a folder; returns a summary with what the audit found."""
    with complete_directory(results) as folder:
        write_jsonl(folder / "verdicts.jsonl", rows)
        write_json(folder / "metrics.json", numbers)
    counts, win_rate = numbers["counts"], numbers["estimates"].get("win_rate")
    shown = f"win rate {win_rate['value']:.1%} [{win_rate['low']:.1%}, {win_rate['high']:.1%}], " if win_rate else ""
    figures = f"{counts['num_judged']} of {counts['num_prompts']} prompts judged, {shown}{counts['usd']:.2f} USD"
    return ". ".join([figures, *(text.rstrip(".") for text in numbers["findings"])])


def _judge(
    params: Params, matchups: list[Matchup], ledgers: Path, name: str, replay: bool, references: dict[str, list[float]]
) -> tuple[list[JudgementRow], dict[str, Any]]:
    rows = judge_matchups(params.judge, matchups, ledgers, name, replay)
    if params.has_gold:
        references = references | {"gold": [_better_by_gold(matchup) for matchup in matchups]}
    return rows, judgement_numbers(rows, params.compare, params.judge.seed, references)


def _better_by_gold(matchup: Matchup) -> float:
    own, other = gold_rewards(matchup.dialogue, [matchup.response, matchup.opponent])
    return float(own > other) + 0.5 * (own == other)
