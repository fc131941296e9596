"""Tests the judge on human pairs: how often, and how far beyond chance, does it prefer what people preferred?"""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.judge.judgements import judge_human_pairs, write_judgement


def main(pairs: Path, ledgers: Path, name: str, results: Path, replay: bool) -> tuple[str, Path]:
    """Judges PAIRS; keeps the answers in LEDGERS/NAME.jsonl; --replay asks nobody."""
    params = load_params(PARAMS)
    rows, numbers = judge_human_pairs(params, pairs, ledgers, name, replay)
    return write_judgement(rows, numbers, results), results
