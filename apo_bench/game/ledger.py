"""The game ledger of an arm: every reward model of the game scores the test responses of every policy of it, and the golden responses."""

from collections.abc import Sequence
from pathlib import Path

from apo_bench.config.compute_sections import Compute
from apo_bench.core.errors import DataError
from apo_bench.core.files import read_jsonl
from apo_bench.core.records import PolicyAnswerRow, Record, ResponseRow, SampledRow
from apo_bench.core.schemas import Number, Schema, row_with
from apo_bench.data.records import read_records
from apo_bench.game.players import FIXED, GOLDEN, START, Scores
from apo_bench.models.reward_model import all_rewards, load_reward_model, longest_scored
from apo_bench.models.tokenizer import encode_records, load_tokenizer


def read_players(evaluations: dict[str, Path], golden: Path, keys: tuple[str, ...]) -> tuple[dict[str, list[Record]], list[ResponseRow]]:
    """The policies' rows a test prompt, by round from the SFT policy on, and the golden responses, all to the prompts that all answered.

    Args:
        evaluations: round -> the folder of the policy's evaluation, START among them.
        golden: the file of golden responses.
        keys: columns with a number that the rows must have.

    Raises:
        MissingInputError: a file is not there.
        DataError: a file is broken, or is about other prompts than SFT's evaluation.
    """
    files = {name: folder / "prompts.jsonl" for name, folder in evaluations.items()}
    schema = Schema(row_with(PolicyAnswerRow, dict.fromkeys(keys, Number)))
    policies = {name: read_jsonl(file, schema) for name, file in files.items()}
    responses = read_records(golden, "responses")
    num_common = min(map(len, policies.values()))  # earlier rounds answer the first prompts alone
    start = [row["id"] for row in policies[START]]
    ids = {files[name]: [row["id"] for row in rows] for name, rows in policies.items()} | {golden: [row["id"] for row in responses]}
    for file, found in ids.items():
        if found != start[: len(found)]:
            raise DataError(f"{file}: not the prompts of {files[START]} in their order; evaluate the same test prompts (dvc repro)")
    return {name: rows[:num_common] for name, rows in policies.items()}, responses[:num_common]


def score_players(
    folders: dict[str, Path], policies: dict[str, list[Record]], golden: Sequence[ResponseRow], compute: Compute, max_length: int
) -> Scores:
    """Each reward model is loaded once and scores all responses in one pass, those to a prompt behind the prompt they share.

    `max_length` is for those that do not know on what lengths they were trained.
    """
    players = [*policies, GOLDEN]
    tokenizer = load_tokenizer(folders[FIXED])
    responses = [[*(rows[prompt]["response"] for rows in policies.values()), best["response"]] for prompt, best in enumerate(golden)]
    finished = [[*(rows[prompt]["finished"] for rows in policies.values()), True] for prompt in range(len(golden))]
    scores = {}
    for name, folder in folders.items():
        model = load_reward_model(folder, compute)
        length = longest_scored(model, max_length)
        groups = encode_records(tokenizer, golden, responses, length, compute.max_prompt_length, finished)
        flat = [sequence for group in groups for sequence in group]
        rewards_N = all_rewards(model, flat, tokenizer.pad_token_id, f"reward model {name}")
        scores_PQ = rewards_N.double().numpy().reshape(len(golden), len(players))
        scores[name] = dict(zip(players, scores_PQ.T, strict=True))
    return scores


def samples_scored_by(model: Path, rows: Sequence[SampledRow], compute: Compute, max_length: int) -> list[list[float]]:
    """The rewards that another model gives to scored samples, a list a prompt; `max_length` as for `score_players`."""
    tokenizer, reward_model = load_tokenizer(model), load_reward_model(model, compute)
    responses, finished = [row["responses"] for row in rows], [row["finished"] for row in rows]
    length = longest_scored(reward_model, max_length)
    groups = encode_records(tokenizer, rows, responses, length, compute.max_prompt_length, finished)
    flat = [sequence for group in groups for sequence in group]
    rewards = iter(all_rewards(reward_model, flat, tokenizer.pad_token_id, "reward model base: samples").tolist())
    return [[next(rewards) for _ in group] for group in groups]
