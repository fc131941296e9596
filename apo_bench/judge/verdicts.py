"""From matchups to verdicts: each is put to the judge in both orders, once more if its answer cannot be read, and then counted."""

from collections.abc import Sequence
from pathlib import Path

from apo_bench.chat.ledger import LedgerRow
from apo_bench.config.judge_sections import Judge
from apo_bench.judge.providers import Answerer, Answers, open_provider
from apo_bench.judge.questions import JudgementRow, Matchup, Question, Verdict, again, both_orders, read_templates, read_verdict

OWN_FIRST = {"A": 1.0, "tie": 0.5, "B": 0.0}
"""What a verdict is worth to the response, if that was shown first."""


def judge_matchups(judge: Judge, matchups: Sequence[Matchup], ledgers: Path, name: str, replay: bool) -> list[JudgementRow]:
    """A row a matchup.

    Args:
        judge: the section of params.yaml.
        matchups: what to judge.
        ledgers: the folder of the ledgers.
        name: which of them this one's answers are kept in.
        replay: whether only the ledger may answer.

    Raises:
        ApoBenchError: a template is broken, or the judge cannot be asked.
    """
    templates = read_templates(Path(judge.templates), dict.fromkeys(matchup.subset for matchup in matchups))
    questions = [None if matchup.is_identical else both_orders(matchup, templates, judge.provider) for matchup in matchups]
    with open_provider(judge, ledgers, name, replay) as answer:
        answers = _ask(answer, [question for pair in questions if pair for question in pair])
    return [_row(matchup, pair, answers) for matchup, pair in zip(matchups, questions, strict=True)]


def outcome_of(own_first: Verdict | None, opponent_first: Verdict | None) -> float | None:
    """1 if the response wins in both orders, 0 if it loses in both; a tie if the orders do not agree, None if one cannot be read."""
    if own_first is None or opponent_first is None:
        return None
    values = OWN_FIRST[own_first], 1 - OWN_FIRST[opponent_first]
    return values[0] if values[0] == values[1] else 0.5


def _ask(answer: Answerer, questions: list[Question]) -> dict[str, list[LedgerRow]]:
    """By key of the question, its answers in the ledger: one, or two where the first cannot be read."""
    first = answer(questions)
    unreadable = [question for question in questions if _verdict(first[question.prompt.key])[0] is None]
    repeated = [again(question, first[question.prompt.key]["response"]) for question in unreadable]
    second: Answers = answer(repeated)
    answers = {question.prompt.key: [first[question.prompt.key]] for question in questions}
    for question, other in zip(unreadable, repeated, strict=True):
        answers[question.prompt.key] = [first[question.prompt.key], second[other.prompt.key]]
    return answers


def _row(matchup: Matchup, pair: tuple[Question, Question] | None, answers: dict[str, list[LedgerRow]]) -> JudgementRow:
    asked = [answers[question.prompt.key] for question in pair] if pair else []
    (own_first, own_reasoning), (opponent_first, opponent_reasoning) = [_verdict(rows[-1]) for rows in asked] or [(None, "")] * 2
    used = [row for rows in asked for row in rows]
    return {
        "id": matchup.id,
        "subset": matchup.subset,
        "dialogue": matchup.dialogue,
        "response": matchup.response,
        "opponent": matchup.opponent,
        "outcome": outcome_of(own_first, opponent_first) if pair else 0.5,
        "is_identical": matchup.is_identical,
        "verdict_own_first": own_first,
        "verdict_opponent_first": opponent_first,
        "reasoning_own_first": own_reasoning,
        "reasoning_opponent_first": opponent_reasoning,
        "num_requests": len(used),
        "num_asked_again": len(used) - len(asked),
        "prompt_tokens": sum(row["prompt_tokens"] for row in used),
        "completion_tokens": sum(row["completion_tokens"] for row in used),
        "usd": sum(row["usd"] for row in used),
        "served_models": sorted({row["served_model"] for row in used}),
    }


def _verdict(row: LedgerRow) -> tuple[Verdict | None, str]:
    return read_verdict(row["response"])
