"""Samples a policy's responses to the test prompts, which `evaluate`, judges and reward models of one's own are about."""

from pathlib import Path

from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.core.files import write_jsonl
from apo_bench.core.layout import DATA, MODELS, RESPONSES, RESULTS, START_ROUND, Arm, Reference, records
from apo_bench.core.results import write_metrics
from apo_bench.core.seeds import derive_seed, use_threads
from apo_bench.core.stage import Files, Sizes, Stage, Step, Work
from apo_bench.data.records import read_records
from apo_bench.engines.sampling import counts, response_rows, sample_responses
from apo_bench.models.tokenizer import load_tokenizer

STAGE = Stage(runs="sampling", step=lambda at: Step.RESPONSES_OF_SFT if "reference" in at else Step.RESPONSES)


def files(seed: int, round: str, method: str = "", reward_model: str = "", reference: str = "") -> Files:
    """The test responses of an arm after a round or, after round r0, of a reference."""
    arm, start = Arm(method, reward_model, seed), Reference(reference, seed)
    return Files(
        {"prompts_test": records(DATA, "prompts_test"), "policy": start.trained(MODELS) if reference else arm.policy(MODELS, round)},
        {
            "output": start.responses(RESPONSES) if reference else arm.responses(RESPONSES, round),
            "results": start.responding(RESULTS) if reference else arm.responding(RESULTS, round),
        },
    )


def work(params: Params, sizes: Sizes) -> Work:
    """The responses to the test prompts."""
    test = params.sampling.test
    return Work(sample=sizes.count["prompts_test"] * test.num_samples * min(sizes.sampled, test.max_new_tokens))


def main(policy: Path, prompts_test: Path, seed: int, round: str, output: Path, results: Path) -> tuple[str, Path]:
    """Samples a response a test prompt, and says what it took; SEED names the draws, which all policies share."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    prompts = read_records(prompts_test, "prompts")
    if round != START_ROUND and round != params.run.rounds[-1]:
        prompts = prompts[: params.evaluate.num_earlier_prompts]
    groups = sample_responses(
        policy,
        load_tokenizer(policy),
        [row["dialogue"] for row in prompts],
        params.sampling.test,
        params.compute,
        params.engines,
        derive_seed(seed, "evaluate"),
        "test responses",
    )
    write_jsonl(output, response_rows(prompts, groups))
    write_metrics(results, counts(groups))
    return f"{len(prompts)} responses, {sum(group.finished[0] for group in groups) / len(groups):.1%} finished", output
