"""A pilot of the default's world: one replicate without the game, by which corpus and sizes are chosen (docs/world.md).

python -m benchmarks.world --seed 1000 --set prepare.num_topics=24 --note "fewer topics"

It makes the base model, SFT, RM_base, RM_all and arms with RM_base, and never a reward model that sees golden responses, so that no choice
can lean towards one.
"""

import argparse
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from apo_bench.core.config import PARAMS, Params, load_params
from apo_bench.core.files import read_json, read_jsonl
from apo_bench.core.sections import START_ROUND
from apo_bench.engines.record import Stopwatch
from pipeline import align, base_model, evaluate, labels, prepare, reward, sample, score, sft

ROOT = Path(__file__).parents[1]
SHOWN = ("sample_accuracy", "best_of_n_gain", "perfect_best_of_n_gain", "golden_accuracy", "mean_gold")
FINISHED = ("gold", "reward_all", "kl", "length")


def main() -> None:
    """Makes a pilot, prints its figures and appends them to the log."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True, help="1000 or more: 0 and up are the default's")
    parser.add_argument("--params", type=Path, default=ROOT / PARAMS)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="changes of params, VALUE as YAML")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="*", default=["rjs", "rrhf", "dpo"])
    parser.add_argument("--note", default="")
    parser.add_argument("--log", type=Path, default=Path("pilots.jsonl"))
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "apo-bench-pilots", help="base models of pilots before")
    options = parser.parse_args()
    log = options.log.absolute()
    with _folder(options) as params:
        pilot = Pilot(params, options.seed, options.cache.absolute())
        figures = pilot.start() | {method: list(pilot.rounds(method, options.rounds)) for method in options.methods if options.rounds}
    row = {"seed": options.seed, "note": options.note, "set": options.set, **figures, "seconds": pilot.seconds}
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print("seconds of processors", {name: round(value, 1) for name, value in pilot.seconds.items()}, round(sum(pilot.seconds.values())))


@contextmanager
def _folder(options: argparse.Namespace) -> Iterator[Params]:
    """Works in a folder that has but the params of the pilot, and is gone afterwards."""
    raw = yaml.safe_load(options.params.read_text(encoding="utf-8"))
    for change in options.set:
        key, _, value = change.partition("=")
        *sections, last = key.split(".")
        section = raw
        for name in sections:
            section = section[name]
        if last not in section:
            raise SystemExit(f"--set {change}: no key {key} in {options.params}")
        section[last] = yaml.safe_load(value)
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="apo-bench-pilot-") as folder:
        os.chdir(folder)
        try:
            PARAMS.write_text(yaml.safe_dump(raw), encoding="utf-8")
            yield load_params(PARAMS)
        finally:
            os.chdir(before)


class Pilot:
    """One replicate."""

    def __init__(self, params: Params, seed: int, cache: Path) -> None:
        self.params, self.seed, self.cache = params, seed, cache
        self.seconds: dict[str, float] = {}
        self.data, self.models, self.results = Path("out/data"), Path("out/models"), Path("out/results")
        self.labels = Path("out/labels")

    def start(self) -> dict[str, Any]:
        """What all arms start from: its figures."""
        self._do("prepare", prepare.main, self.data, self.results / "prepare")
        self._do("labels", labels.main, self.data, self.seed, self.labels, self.results / "labels")
        self._base_model()
        base = self.models / "base_model"
        self._do("sft", sft.main, base, self.data, self.seed, self.models / "sft", self.results / "sft")
        figures: dict[str, Any] = {"label_agreement": read_json(self.results / "prepare/metrics.json")["label_agreement"]}
        for name in ("base", "all"):
            folder = Path("reward") / name
            arguments = (name, base, self.data, self.labels, self.seed, self.models / folder, self.results / folder)
            self._do(f"reward_{name}", reward.main, *arguments)
            metrics = read_json(self.results / folder / "metrics.json")
            figures[f"RM_{name}"] = {key: metrics[key] for key in ("human_accuracy", "gold_accuracy", "ece", "final_loss")}
            print(f"RM_{name}", _rounded(figures[f"RM_{name}"]))
        figures["sft"] = self._evaluate(self.models / "sft", "sft", START_ROUND)
        print("SFT", _rounded(figures["sft"]))
        figures["sft"] |= self._score(self.models / "sft", Path("first"), "r1")
        print("SFT", _rounded({key: figures["sft"][key] for key in SHOWN}))
        return figures

    def rounds(self, method: str, num_rounds: int) -> Iterator[dict[str, float]]:
        """The figures of each round: of RM_base on the samples it scores, and of the policy that comes out."""
        policy, folder = self.models / "sft", Path("first")
        for number in range(1, num_rounds + 1):
            name = f"r{number}"
            if number > 1:
                folder = Path(method)
                self._score(policy, folder, name)
            scores = self.results / folder / name / "score"
            trained, results = self.models / method / name, self.results / method / name
            self._do(f"align_{method}", align.main, method, policy, scores, self.seed, name, trained, results / "align")
            policy = trained
            figures = read_json(scores / "metrics.json") | self._evaluate(policy, method, name)
            print(method, name, _rounded({key: figures[key] for key in (*SHOWN, *FINISHED)}), flush=True)
            yield figures

    def _do(self, name: str, stage: Callable[..., Any], *arguments: Any) -> None:
        stopwatch = Stopwatch()
        stage(*arguments)
        self.seconds[name] = self.seconds.get(name, 0.0) + stopwatch.seconds(0)["cpu_seconds"]

    def _base_model(self) -> None:
        """Trains it, or takes that of an earlier pilot with the same text and settings."""
        text = (self.data / "pretraining.jsonl").read_bytes()
        settings = self.params.base_model.model_dump_json() + self.params.compute.model_dump_json()
        there = self.cache / hashlib.sha256(text + settings.encode()).hexdigest()[:16]
        if not there.is_dir():
            self._do("base_model", base_model.main, self.models / "base_model", self.results / "base_model")
            shutil.copytree(self.models / "base_model", there)
        else:
            shutil.copytree(there, self.models / "base_model")

    def _score(self, policy: Path, folder: Path, round_name: str) -> dict[str, float]:
        samples = Path("out/samples") / folder / f"{round_name}.jsonl"
        results = self.results / folder / round_name
        prompts = self.data / "prompts_lm.jsonl"
        self._do("sample", sample.main, policy, prompts, self.seed, round_name, samples, results / "sample")
        self._do("score", score.main, self.models / "reward/base", self.data, samples, results / "score")
        return read_json(results / "score/metrics.json")

    def _evaluate(self, policy: Path, name: str, round_name: str) -> dict[str, float]:
        folder = self.results / "evaluation" / name / round_name
        models = (policy, self.models / "sft", self.models / "reward/all")
        self._do("evaluate", evaluate.main, *models, self.data, self.seed, round_name, folder)
        rows = read_jsonl(folder / "prompts.jsonl")
        means = {key: sum(row[key] for row in rows) / len(rows) for key in (*FINISHED, "finished", "refused", "complied")}
        variance = sum((row["gold"] - means["gold"]) ** 2 for row in rows) / (len(rows) - 1)
        return {**means, "gold_spread": variance**0.5}


def _rounded(figures: dict[str, float]) -> str:
    return ", ".join(f"{key} {value:.3f}" for key, value in figures.items())


if __name__ == "__main__":
    main()
