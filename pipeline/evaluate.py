"""Evaluates a policy on the test prompts: responses, RM_all's score, divergence from SFT, length and, where it is known, gold."""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.layout import DATA, MODELS, RESULTS, START_ROUND, TEST_REWARD_MODEL, Arm, Files, Reference, records, sft
from apo_bench.core.layout import reward_model as reward_folder
from apo_bench.core.seeds import derive_seed, use_threads
from apo_bench.data.records import read_records
from apo_bench.engines.record import tokenizer_checksum
from apo_bench.engines.sampling import sample_responses
from apo_bench.evaluation.policies import evaluate_policy, write_evaluation
from apo_bench.models.language_model import load_language_model
from apo_bench.models.reward_model import load_reward_model
from apo_bench.models.tokenizer import load_tokenizer


def files(seed: int, round: str, method: str = "", reward_model: str = "", reference: str = "") -> Files:
    """The evaluation of an arm after a round or, after round r0, of a reference."""
    arm, start = Arm(method, reward_model, seed), Reference(reference, seed)
    reads = {
        "prompts_test": records(DATA, "prompts_test"),
        "start": sft(MODELS, seed),
        "reward_all": reward_folder(MODELS, TEST_REWARD_MODEL, seed),
        "policy": start.trained(MODELS) if reference else arm.policy(MODELS, round),
    }
    return Files(reads, {"results": start.evaluation(RESULTS) if reference else arm.evaluation(RESULTS, round)})


def main(policy: Path, start: Path, reward_all: Path, prompts_test: Path, seed: int, round: str, results: Path) -> tuple[str, Path]:
    """Evaluates a policy after ROUND; writes a row a prompt. SEED names the draws, which all policies share."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    tokenizer, prompts = load_tokenizer(policy), read_records(prompts_test, "prompts")
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
    has_others = tokenizer_checksum(policy) != tokenizer_checksum(start)  # a policy of one's own may have tokens of its own
    model = load_language_model(policy, params.compute)
    rows = evaluate_policy(
        model,
        model if policy == start else load_language_model(start, params.compute),
        load_reward_model(reward_all, params.compute),
        load_tokenizer(start) if has_others else tokenizer,
        prompts,
        samples,
        params.compute,
        params.sft.max_length,
        params.has_gold,
        tokenizer if has_others else None,
    )
    return write_evaluation(rows, results), results
