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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.core import layout
from apo_bench.core.files import read_jsonl
from apo_bench.core.layout import BASE, DATA, FIRST_ROUND, MODELS, RESULTS, SFT, START_ROUND, TEST_REWARD_MODEL, Arm, Reference
from apo_bench.core.results import read_metrics
from apo_bench.engines.record import Stopwatch
from pipeline.stage import bound
from pipeline.stages import align, base_model, evaluate, evaluate_reward, labels, prepare, respond, reward, sample, score, sft

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

    def start(self) -> dict[str, Any]:
        """What all arms start from: its figures."""
        self._do(prepare)
        self._do(labels, seed=self.seed)
        self._base_model()
        self._do(sft, seed=self.seed)
        agreement = read_metrics(layout.preparation(RESULTS))["label_agreement"]
        figures: dict[str, Any] = {"label_agreement": agreement}
        for name in (BASE, TEST_REWARD_MODEL):
            self._do(reward, reward_model=name, seed=self.seed)
            self._do(evaluate_reward, reward_model=name, seed=self.seed, round=FIRST_ROUND)
            folders = [layout.reward_model(root, name, self.seed) for root in (RESULTS, layout.reward_evaluations(RESULTS))]
            metrics = read_metrics(folders[0]) | read_metrics(folders[1])
            figures[f"RM_{name}"] = {key: metrics[key] for key in ("human_accuracy", "gold_accuracy", "ece", "final_loss")}
            print(f"RM_{name}", _rounded(figures[f"RM_{name}"]))
        for stage in (respond, evaluate):
            self._do(stage, seed=self.seed, round=START_ROUND, reference=SFT)
        figures[SFT] = _figures(Reference(SFT, self.seed).evaluation(RESULTS))
        print("SFT", _rounded(figures[SFT]))
        figures[SFT] |= self._score(Arm("", BASE, self.seed), FIRST_ROUND)
        print("SFT", _rounded({key: figures[SFT][key] for key in SHOWN}))
        return figures

    def rounds(self, method: str, num_rounds: int) -> Iterator[dict[str, float]]:
        """The figures of each round: of RM_base on the samples it scores, and of the policy that comes out."""
        arm = Arm(method, BASE, self.seed)
        for name in (f"r{number}" for number in range(1, num_rounds + 1)):
            scores = self._score(arm, name) if name != FIRST_ROUND else read_metrics(arm.score(RESULTS, name))
            for stage in (align, respond, evaluate):
                self._do(stage, **asdict(arm), round=name)
            figures = scores | _figures(arm.evaluation(RESULTS, name))
            print(method, name, _rounded({key: figures[key] for key in (*SHOWN, *FINISHED)}), flush=True)
            yield figures

    def _do(self, stage: ModuleType, **coordinates: Any) -> None:
        stopwatch, name = Stopwatch(), stage.__name__.rpartition(".")[2]
        bound(stage, coordinates)[1]()
        self.seconds[name] = self.seconds.get(name, 0.0) + stopwatch.seconds(0)["cpu_seconds"]

    def _base_model(self) -> None:
        """Trains it, or takes that of an earlier pilot with the same text and settings."""
        text = layout.records(DATA, "pretraining").read_bytes()
        settings = self.params.base_model.model_dump_json() + self.params.compute.model_dump_json()
        there = self.cache / hashlib.sha256(text + settings.encode()).hexdigest()[:16]
        if not there.is_dir():
            self._do(base_model)
            shutil.copytree(layout.base_model(MODELS), there)
        else:
            shutil.copytree(there, layout.base_model(MODELS))

    def _score(self, arm: Arm, round_id: str) -> dict[str, float]:
        """In the first round, what methods share."""
        self._do(sample, half="lm", **asdict(arm), round=round_id)
        self._do(score, **asdict(arm), round=round_id)
        return read_metrics(arm.score(RESULTS, round_id))


def _figures(evaluation: Path) -> dict[str, float]:
    rows = read_jsonl(evaluation / "prompts.jsonl")
    means = {key: sum(row[key] for row in rows) / len(rows) for key in (*FINISHED, "finished", "refused", "complied")}
    variance = sum((row["gold"] - means["gold"]) ** 2 for row in rows) / (len(rows) - 1)
    return {**means, "gold_spread": variance**0.5}


def _rounded(figures: dict[str, float]) -> str:
    return ", ".join(f"{key} {value:.3f}" for key, value in figures.items())


if __name__ == "__main__":
    main()
