"""Evaluates a policy by its test responses: RM_all's score, divergence from SFT, length and, where it is known, gold. Samples nothing."""

from pathlib import Path

from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.core.files import read_jsonl
from apo_bench.core.layout import MODELS, RESPONSES, RESULTS, TEST_REWARD_MODEL, Arm, Reference, sft
from apo_bench.core.layout import reward_model as reward_folder
from apo_bench.core.results import RESPONSE
from apo_bench.core.seeds import use_threads
from apo_bench.core.stage import Files, Sizes, Stage, Step, Work
from apo_bench.evaluation.policies import evaluate_policy, write_evaluation
from apo_bench.models.language_model import load_language_model
from apo_bench.models.reward_model import load_reward_model
from apo_bench.models.tokenizer import load_tokenizer, tokenizer_checksum

STAGE = Stage(runs="models", step=Step.EVALUATION)


def files(seed: int, round: str, method: str = "", reward_model: str = "", reference: str = "") -> Files:
    """The evaluation of an arm after a round or, after round r0, of a reference; the best of n is of SFT's responses."""
    arm, start = Arm(method, reward_model, seed), Reference(reference, seed)
    reads = {
        "responses": start.responses(RESPONSES) if reference else arm.responses(RESPONSES, round),
        "start": sft(MODELS, seed),
        "reward_all": reward_folder(MODELS, TEST_REWARD_MODEL, seed),
        "policy": (start.policy(MODELS) or sft(MODELS, seed)) if reference else arm.policy(MODELS, round),
    }
    return Files(reads, {"results": start.evaluation(RESULTS) if reference else arm.evaluation(RESULTS, round)})


def work(params: Params, sizes: Sizes) -> Work:
    """The test responses, by RM_all, the policy and SFT's."""
    tokens = sizes.rows("prompts_test", 0, 1, params.sampling.test.max_new_tokens)
    return Work(read_reward=tokens, read_policy=2 * tokens)


def main(responses: Path, policy: Path, start: Path, reward_all: Path, results: Path) -> tuple[str, Path]:
    """Evaluates what a policy answered; writes a row a prompt."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    tokenizer = load_tokenizer(policy)
    has_others = tokenizer_checksum(policy) != tokenizer_checksum(start)  # a policy of one's own may have tokens of its own
    model = load_language_model(policy, params.compute)
    rows = evaluate_policy(
        model,
        model if policy == start else load_language_model(start, params.compute),
        load_reward_model(reward_all, params.compute),
        load_tokenizer(start) if has_others else tokenizer,
        read_jsonl(responses, RESPONSE),
        params.compute,
        params.sft.max_length,
        params.has_gold,
        tokenizer if has_others else None,
    )
    return write_evaluation(rows, results), results
