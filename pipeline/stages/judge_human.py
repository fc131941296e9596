"""Tests the judge on human pairs: how often, and how far beyond chance, does it prefer what people preferred?"""

from pathlib import Path

from apo_bench.config.params import PARAMS, load_params
from apo_bench.core.layout import DATA, LEDGERS, RESULTS, judge_test, judge_test_ledger, records
from apo_bench.core.stage import Files, Stage
from apo_bench.judge.judgements import judge_human_pairs, shared_ledgers, write_judgement

STAGE = Stage(runs="judge")


def files(provider: str, pairs: str) -> Files:
    """Verdicts on a file of human pairs."""
    return Files(
        {"human": records(DATA, pairs)}, {"ledger": judge_test_ledger(LEDGERS / provider, pairs), "results": judge_test(RESULTS, pairs)}
    )


def main(provider: str, human: Path, ledger: Path, results: Path, replay: bool) -> tuple[str, Path]:
    """Judges human pairs; keeps the answers in a ledger; --replay asks nobody."""
    params = load_params(PARAMS)
    rows, numbers = judge_human_pairs(params, human, *shared_ledgers(ledger, provider), replay)
    return write_judgement(rows, numbers, results), results
