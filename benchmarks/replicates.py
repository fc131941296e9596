"""What it is worth that the arms of a replicate share labels, SFT policy, reward models and random draws.

    python -m benchmarks.replicates report/summary.json

Prints a Markdown table: for each contrast after the last round its variance over replicates as the suite takes it (both arms of one
replicate), that of arms of different replicates (the sum of the arms' own variances), and how much less the first is. Then how much of the
variance of the arms of `base` goes with its reward model: what they do not share with those of `no_adversarial`, which have all but that in
common with them, and much of its human pairs too (so it is a lower bound).
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

OUTCOMES = {"gold": "gold", "reward_all": "RM_all"}


def main() -> None:
    """Reads a summary; prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("summary", type=Path)
    summary = json.loads(parser.parse_args().summary.read_text(encoding="utf-8"))
    print("| contrast | outcome | variance, shared | variance, not shared | less, % |\n|---|---|---:|---:|---:|")
    for method, kind, outcome in product(summary["run"]["methods"], summary["run"]["reward_models"], OUTCOMES):
        if kind != "base":
            one, other = (last_round(summary, f"{method}-{name}", outcome) for name in (kind, "base"))
            shared, apart = np.var(one - other, ddof=1), np.var(one, ddof=1) + np.var(other, ddof=1)
            print(f"| {method} {kind} - base | {OUTCOMES[outcome]} | {shared:.4f} | {apart:.4f} | {100 * (1 - shared / apart):.0f} |")
    print("\n| method | outcome | RM_base's share of the variance, at least, % |\n|---|---|---:|")
    for method, outcome in product(summary["run"]["methods"], OUTCOMES):
        base, other = (last_round(summary, f"{method}-{name}", outcome) for name in ("base", "no_adversarial"))
        print(f"| {method} | {OUTCOMES[outcome]} | {100 * min(1, 1 - np.corrcoef(base, other)[0, 1]):.0f} |")


def last_round(summary: dict[str, Any], group: str, outcome: str) -> np.ndarray:
    """An outcome of an arm after the last round: [replicates]."""
    arms = [summary["replicates"][f"{group}-s{seed}"]["rounds"] for seed in summary["run"]["seeds"]]
    return np.array([rounds[max(rounds)][outcome]["value"] for rounds in arms])


if __name__ == "__main__":
    main()
