"""Evaluates a policy on the test prompts: responses, RM_all's score, divergence from SFT, length and, where it is known, gold."""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.sections import START_ROUND
from apo_bench.core.seeds import derive_seed, use_threads
from apo_bench.data.records import read_records
from apo_bench.engines.record import tokenizer_checksum
from apo_bench.engines.sampling import sample_responses
from apo_bench.evaluation.policies import evaluate_policy, write_evaluation
from apo_bench.models.language_model import load_language_model
from apo_bench.models.reward_model import load_reward_model
from apo_bench.models.tokenizer import load_tokenizer


def main(policy: Path, sft: Path, reward_all: Path, data: Path, seed: int, round: str, results: Path) -> tuple[str, Path]:
    """Evaluates POLICY after ROUND on DATA/prompts_test.jsonl; writes a row a prompt to RESULTS. SEED names the draws, shared by all."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    tokenizer, prompts = load_tokenizer(policy), read_records(data / "prompts_test.jsonl", "prompts")
    if round not in (START_ROUND, params.run.rounds[-1]):
        prompts = prompts[: params.evaluate.num_earlier_prompts]
    samples = sample_responses(
        policy,
        tokenizer,
        [row["dialogue"] for row in prompts],
        params.sampling.test,
        params.compute,
        params.engines,
        derive_seed(seed, "evaluate"),
        "test responses",
    )
    has_others = tokenizer_checksum(policy) != tokenizer_checksum(sft)  # a policy of one's own may have tokens of its own
    model = load_language_model(policy, params.compute)
    rows = evaluate_policy(
        model,
        model if policy == sft else load_language_model(sft, params.compute),
        load_reward_model(reward_all, params.compute),
        load_tokenizer(sft) if has_others else tokenizer,
        prompts,
        samples,
        params.compute,
        params.sft.max_length,
        params.has_gold,
        tokenizer if has_others else None,
    )
    return write_evaluation(rows, results), results
