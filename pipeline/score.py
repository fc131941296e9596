"""Scores the policy's samples on the LM half with a reward model, and says how well that model judges this policy."""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.files import complete_directory, write_json, write_jsonl
from apo_bench.core.seeds import use_threads
from apo_bench.data.records import read_records, write_records
from apo_bench.evaluation.reward_models import order_by_gold, score_samples
from apo_bench.models.reward_model import load_reward_model
from apo_bench.models.tokenizer import load_tokenizer


def main(reward_model: Path, base: Path, data: Path, samples: Path, output: Path, results: Path) -> tuple[str, Path]:
    """Scores SAMPLES with REWARD_MODEL; writes them to OUTPUT and metrics to RESULTS, with how BASE would have ordered them."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    model, tokenizer = load_reward_model(reward_model, params.compute), load_tokenizer(reward_model)
    golden = read_records(data / "golden_lm.jsonl", "responses")
    rows = read_records(samples, "samples")
    given = tokenizer, rows, golden, params.sft.max_length, params.compute, params.has_gold
    scored, metrics = score_samples(model, *given)
    order = []
    if params.has_gold:
        by_base = scored if base == reward_model else score_samples(load_reward_model(base, params.compute), *given)[0]
        order = order_by_gold(by_base, scored)
    write_records(output, scored)
    with complete_directory(results) as folder:
        write_json(folder / "metrics.json", metrics)
        if order:
            write_jsonl(folder / "order.jsonl", order)
    return f"{len(scored)} prompts scored, golden above sample {metrics['golden_accuracy']:.1%}", output
