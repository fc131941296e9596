"""Has a judge compare a policy's test responses with an opponent's, in both orders, and says what its verdicts are worth."""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.judge.judgements import judge_responses, write_judgement


def main(responses: Path, opponent: Path, ledgers: Path, name: str, results: Path, replay: bool) -> tuple[str, Path]:
    """Judges RESPONSES against OPPONENT, folders of evaluations; keeps the answers in LEDGERS/NAME.jsonl; --replay asks nobody."""
    params = load_params(PARAMS)
    rows, numbers = judge_responses(params, responses, opponent, ledgers, name, replay)
    return write_judgement(rows, numbers, results), results
