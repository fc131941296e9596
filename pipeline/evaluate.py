"""Evaluates a policy on the test prompts: responses, RM_all's score, gold, win rate against SFT, divergence, length."""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.files import complete_directory, write_jsonl
from apo_bench.core.seeds import derive_seed, use_threads
from apo_bench.data.records import read_records
from apo_bench.evaluation.policies import evaluate_policy
from apo_bench.models.language_model import load_language_model
from apo_bench.models.reward_model import load_reward_model
from apo_bench.models.tokenizer import load_tokenizer


def main(policy: Path, sft: Path, reward_all: Path, data: Path, name: str, results: Path) -> tuple[str, Path]:
    """Evaluates POLICY, called NAME, on DATA/pairs_test.jsonl; writes a row a prompt to RESULTS."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    rows = evaluate_policy(
        load_language_model(policy),
        load_language_model(sft),
        load_reward_model(reward_all),
        load_tokenizer(policy),
        read_records(data / "pairs_test.jsonl", "prompts"),
        params.sampling.test,
        derive_seed(params.evaluate.seed, "evaluate", name),
        params.sft.max_length,
    )
    with complete_directory(results) as folder:
        write_jsonl(folder / "prompts.jsonl", rows)
    means = {key: sum(row[key] for row in rows) / len(rows) for key in ("gold", "reward_all", "length")}
    return f"{name}: gold {means['gold']:.2f}, RM_all {means['reward_all']:.2f}, {means['length']:.0f} tokens", results
