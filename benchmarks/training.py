"""Training on processors beside TRL: reward model, DPO and SFT of a chat model on pairs of HH-RLHF, each in a process of its own.

    python -m benchmarks.training MODEL HH [--work NAME ...]       # folders of a chat model and of HH-RLHF in its own layout

Both sides train all weights in float32, for one epoch over the same pairs in batches of eight, in turn, on the same threads. Seconds are
those of the training alone, without loading; memory is the most that the process took. DPO includes the reference's log-probabilities.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from apo_bench.config.params import load_params
from apo_bench.config.plugins import load_method
from apo_bench.config.sections import Training
from apo_bench.data.records import parse_dialogue
from apo_bench.engines.training import InProcess
from apo_bench.models.language_model import load_language_model
from apo_bench.models.reward_model import new_reward_model
from apo_bench.models.tokenizer import load_tokenizer
from apo_bench.sources.hh import clean_raw_pairs, read_raw_pairs
from benchmarks.models import PROFILE, SUBSET, ready_model

NUM_PAIRS, BATCH, MAX_LENGTH, RATE, BETA = 32, 8, 512, 1e-6, 0.1
WORKS = ("reward", "dpo", "sft")
RESULT = "RESULT "


def main() -> None:
    """Measures each work by both sides in turn; prints seconds, memory and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("hh", type=Path)
    parser.add_argument("--work", nargs="+", choices=WORKS, default=WORKS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--side", choices=("ours", "trl"), help="one side, in this process")
    options = parser.parse_args()
    if options.side:
        torch.set_num_threads(options.threads)
        [work] = options.work
        seconds = (ours if options.side == "ours" else theirs)(work, options.model, pairs(options.hh))
        gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(RESULT + json.dumps({"seconds": seconds, "GiB": gib}))
        return
    with TemporaryDirectory() as scratch:
        model = Path(scratch) / "model"
        ready_model(options.model, model)
        for work in options.work:
            runs = [{side: _run(side, work, model, options) for side in ("ours", "trl")} for _ in range(options.repeats)]
            best = {side: {key: min(run[side][key] for run in runs) for key in ("seconds", "GiB")} for side in ("ours", "trl")}
            shown = ", ".join(f"{side} {found['seconds']:.1f} s {found['GiB']:.1f} GiB" for side, found in best.items())
            faster, smaller = (best["trl"][key] / best["ours"][key] for key in ("seconds", "GiB"))
            print(f"{work}: {shown}: {faster:.2f} times as fast, {1 / smaller:.2f} of the memory", flush=True)


def _run(side: str, work: str, model: Path, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.training", str(model), str(options.hh), "--work", work, "--side", side]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run([*command, "--threads", str(options.threads)], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side} {work}:\n{done.stderr}")
    found: dict[str, float] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith(RESULT)).removeprefix(RESULT))
    print(f"  {work} {side}: {found['seconds']:.1f} s, {found['GiB']:.2f} GiB", flush=True)
    return found


def pairs(folder: Path) -> list[dict[str, Any]]:
    """The first pairs of HH's test file."""
    rows, _, _ = clean_raw_pairs((SUBSET, pair) for pair in read_raw_pairs(folder, SUBSET, "test"))
    return [{**row, "subset": "helpful"} for row in rows[:NUM_PAIRS]]


def ours(work: str, folder: Path, rows: list[dict[str, Any]]) -> float:
    """Seconds of the trainings of `apo_bench.training`."""
    from apo_bench.reward_models.base import REWARD_MODEL
    from apo_bench.reward_models.player import HUMAN, Material
    from apo_bench.training.policies import align, fine_tune
    from apo_bench.training.reward_models import train_reward_model

    params = load_params(PROFILE)
    changes = {"dtype": "float32", "max_prompt_length": MAX_LENGTH, "micro_batch_tokens": None, "frozen_layers": 0}
    compute = params.compute.model_copy(update=changes)
    settings = Training(epochs=1, batch_size=BATCH, learning_rate=RATE, max_length=MAX_LENGTH)
    tokenizer = load_tokenizer(folder)
    if work == "reward":
        model = new_reward_model(folder, 0, compute, zero_head=False)
    else:
        model = load_language_model(folder, compute, for_training=True)
    section = {**params.methods["dpo"], "learning_rates": [RATE] * 3, "batch_size": BATCH, "max_length": MAX_LENGTH, "beta": BETA}
    scored = [{**row, "responses": [row["chosen"], row["rejected"]], "finished": [True, True], "rewards": [1.0, 0.0]} for row in rows]
    given = [{**row, "response": row["chosen"]} for row in rows]
    engine, offered = InProcess(compute), Material({HUMAN: lambda: rows}, len(rows))
    trainings: dict[str, Callable[[], Any]] = {
        "reward": lambda: train_reward_model(model, tokenizer, REWARD_MODEL(settings), offered, compute, engine, 0, 0, work),
        "dpo": lambda: align(model, tokenizer, scored, load_method("dpo", {"dpo": section}), compute, engine, 1, 0, work),
        "sft": lambda: fine_tune(model, tokenizer, given, settings, compute, engine, 0, work),
    }
    started = time.perf_counter()
    trainings[work]()
    return time.perf_counter() - started


def theirs(work: str, folder: Path, rows: list[dict[str, Any]]) -> float:
    """Seconds of TRL's trainers."""
    import trl
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    tokenizer = load_tokenizer(folder)
    common: dict[str, Any] = {
        "per_device_train_batch_size": BATCH,
        "num_train_epochs": 1,
        "learning_rate": RATE,
        "max_length": MAX_LENGTH,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "optim": "adamw_torch_fused",
        "logging_strategy": "no",
    }
    prompts = [parse_dialogue(row["dialogue"]) for row in rows]

    def said(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    data: dict[str, list[Any]] = {"prompt": prompts}
    if work == "sft":
        data["completion"] = [said(row["chosen"]) for row in rows]
    else:
        data |= {key: [said(row[key]) for row in rows] for key in ("chosen", "rejected")}
    with TemporaryDirectory() as output:
        kind = AutoModelForSequenceClassification if work == "reward" else AutoModelForCausalLM
        model = kind.from_pretrained(folder, dtype=torch.float32, **({"num_labels": 1} if work == "reward" else {}))
        made: dict[str, tuple[Any, Any, dict[str, Any]]] = {
            "reward": (trl.RewardTrainer, trl.RewardConfig, {}),
            "dpo": (trl.DPOTrainer, trl.DPOConfig, {"beta": BETA, "precompute_ref_log_probs": True}),
            "sft": (trl.SFTTrainer, trl.SFTConfig, {"completion_only_loss": True}),
        }
        trainer_class, config_class, own = made[work]
        config = config_class(output_dir=output, **common, **own)
        started = time.perf_counter()
        trainer = trainer_class(model=model, args=config, train_dataset=Dataset.from_dict(data), processing_class=tokenizer)
        trainer.train()
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
