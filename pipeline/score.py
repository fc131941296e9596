"""Scores the policy's samples on the LM half with a reward model, and says how well that model judges this policy."""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.files import complete_directory, write_json
from apo_bench.core.seeds import use_threads
from apo_bench.data.records import SCORED, SCORED_GOLDEN, read_records, write_records
from apo_bench.evaluation.reward_models import score_samples
from apo_bench.models.reward_model import load_reward_model
from apo_bench.models.tokenizer import load_tokenizer


def main(reward_model: Path, data: Path, samples: Path, results: Path) -> tuple[str, Path]:
    """Scores SAMPLES and the golden responses of DATA with REWARD_MODEL; writes both and what they say of that model to RESULTS."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    model, tokenizer = load_reward_model(reward_model, params.compute), load_tokenizer(reward_model)
    golden, rows = read_records(data / "golden_lm.jsonl", "responses"), read_records(samples, "samples")
    scored, scored_golden, metrics = score_samples(model, tokenizer, rows, golden, params.sft.max_length, params.compute, params.has_gold)
    with complete_directory(results) as folder:
        write_records(folder / SCORED, scored)
        write_records(folder / SCORED_GOLDEN, scored_golden)
        write_json(folder / "metrics.json", metrics)
    return f"{len(scored)} prompts scored, golden above sample {metrics['golden_accuracy']:.1%}", results
