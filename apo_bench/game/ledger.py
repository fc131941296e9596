"""The game ledger of an arm: every reward model of the game scores the test responses of every policy of it, and the golden responses."""

from pathlib import Path
from typing import Any

import numpy as np

from apo_bench.core.errors import DataError
from apo_bench.core.files import read_jsonl
from apo_bench.core.sections import FIRST_ROUND, Compute
from apo_bench.data.records import read_records
from apo_bench.models.reward_model import all_rewards, load_reward_model
from apo_bench.models.tokenizer import encode, load_tokenizer

Rows = list[dict[str, Any]]
Scores = dict[str, dict[str, np.ndarray]]
"""Reward model -> policy, or golden -> its score on each prompt."""
FIXED, START, GOLDEN = "base", "r0", "golden"
"""The fixed reward model, the SFT policy, and the golden responses; the others go by their round."""


def reward_model_folders(kind: str, rounds: list[str], fixed: Path, first: Path, later: Path) -> dict[str, Path]:
    """The reward models of a game: the fixed one, then the one of each round, if the game retrains it."""
    if kind == FIXED:
        return {FIXED: fixed}
    return {FIXED: fixed} | {name: first if name == FIRST_ROUND else later / name / "reward" for name in rounds}


def read_players(sft: Path, evaluations: Path, golden: Path, rounds: list[str], keys: tuple[str, ...]) -> tuple[dict[str, Rows], Rows]:
    """The policies' rows a test prompt, by round from the SFT policy on, and the golden responses, all to the same prompts.

    Raises:
        MissingInputError: a file is not there.
        DataError: a file is broken, or is about other prompts than SFT's evaluation.
    """
    folders = {START: sft} | {name: evaluations / name / "evaluation" for name in rounds}
    files = {name: folder / "prompts.jsonl" for name, folder in folders.items()}
    policies = {name: read_jsonl(file, ("id", "subset", "dialogue", "response", "finished", *keys)) for name, file in files.items()}
    responses = read_records(golden, "responses")
    start = [row["id"] for row in policies[START]]
    for file, rows in [*((files[name], rows) for name, rows in policies.items()), (golden, responses)]:
        if [row["id"] for row in rows] != start:
            raise DataError(f"{file}: not the prompts of {files[START]} in their order; evaluate the same test prompts (dvc repro)")
    return policies, responses


def score_players(folders: dict[str, Path], policies: dict[str, Rows], golden: Rows, compute: Compute, max_length: int) -> Scores:
    """Each reward model is loaded once and scores all responses in one pass, those to a prompt behind the prompt they share."""
    players = {**policies, GOLDEN: [row | {"finished": True} for row in golden]}
    tokenizer = load_tokenizer(folders[FIXED])
    groups = encode(
        tokenizer,
        [row["dialogue"] for row in golden],
        [[rows[prompt]["response"] for rows in players.values()] for prompt in range(len(golden))],
        max_length,
        compute.max_prompt_length,
        [[rows[prompt]["finished"] for rows in players.values()] for prompt in range(len(golden))],
    )
    flat = [sequence for group in groups for sequence in group]
    scores = {}
    for name, folder in folders.items():
        rewards_N = all_rewards(load_reward_model(folder, compute), flat, tokenizer.pad_token_id, f"reward model {name}")
        scores_PQ = rewards_N.double().numpy().reshape(len(golden), len(players))
        scores[name] = dict(zip(players, scores_PQ.T, strict=True))
    return scores


def golden_above(scores: Scores) -> Scores:
    """Whether a reward model scores the golden response above the policy's to the same prompt: 1, 0.5 for a tie, 0."""
    return {
        name: {
            policy: (found[GOLDEN] > scores_P) + 0.5 * (found[GOLDEN] == scores_P) for policy, scores_P in found.items() if policy != GOLDEN
        }
        for name, found in scores.items()
    }


def ledger_rows(golden: Rows, scores: Scores) -> Rows:
    """A row a prompt: `id`, `subset`, and `scores` by reward model and policy."""
    return [
        {
            "id": row["id"],
            "subset": row["subset"],
            "scores": {name: {policy: float(values_P[prompt]) for policy, values_P in found.items()} for name, found in scores.items()},
        }
        for prompt, row in enumerate(golden)
    ]
