"""A dvc.lock of a small run, with the counts, environments and seconds that its stages would have left, made by hand."""

import copy
import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import yaml

from apo_bench.core.layout import Arm, Reference, first, replicate
from apo_bench.core.stage import Stage

PARAMS = {
    "sample": {"sampling.train": {"temperature": 1.0, "num_samples": 4}},
    "reward": {"reward.base": {"epochs": 1, "batch_size": 16, "learning_rate": 0.001}},
    "adversarial_reward": {"reward.adversarial": {"epochs": 1, "batch_size": 16, "learning_rate": 0.001, "human_weight": 1.0}},
}
COUNTS = {
    "base_model": {"num_tokens_trained": 1000, "num_parameters": 10},
    "sft": {"num_tokens_trained": 100},
    "reference": {"num_tokens_trained": 7},
    "reward": {"num_tokens_trained": 50},
    "sample": {"num_samples": 8, "num_tokens_generated": 40, "num_tokens_read": 20},
    "adversarial_reward": {"num_tokens_trained": 60},
    "score": {"num_reward_calls": 8, "num_tokens_read": 120},
    "align": {"num_tokens_trained": 30, "num_tokens_read": 30},
}


class LockFile:
    """The stages of a run; `save` writes dvc.lock and what the stages left."""

    def __init__(self, folder: Path, results: Path) -> None:
        self.file, self.results, self.models = folder / "dvc.lock", results, results.with_name("models")
        self.samples, self.times = results.with_name("samples"), results.with_name("times")
        self.responses = results.with_name("responses")
        self.stages: dict[str, Any] = {}
        self.left: dict[Path, dict[str, Any]] = {}

    def stage(self, name: str, script: str, options: str, deps: list[Path | str], outs: list[Path]) -> None:
        """A stage; the first of `outs` is its folder of results."""
        params = ({"compute": {"dtype": "float32"}} if declared(script).is_recorded else {}) | copy.deepcopy(PARAMS.get(script, {}))
        if script == "align":
            params |= {f"methods.{name.split('@')[1].split('-')[0]}": {"batch_size": 16, "learning_rates": [0.1], "beta": 0.1}}
        if declared(script).counts:
            outs = [*outs, self.times / outs[0].relative_to(self.results).with_suffix(".json")]
        self.stages[name] = {
            "cmd": f"exec python -m pipeline {script} {options}",
            "deps": [{"path": str(path), "md5": md5(path)} for path in (*deps, f"pipeline/stages/{script}.py")],
            "params": {"params.yaml": params},
            "outs": [{"path": str(path), "md5": md5(path)} for path in outs],
        }
        if declared(script).is_recorded:
            self.left[outs[0] / "environment.json"] = {"torch": "2.13.0", "tokenizer": "t", "device": "cpu"}
        if script in COUNTS:
            self.left[outs[0] / "metrics.json"] = COUNTS[script]
            self.left[outs[-1]] = {"wall_seconds": 2.0, "cpu_seconds": 1.0, "gpu_seconds": 0.0}

    def start(self, seed: int = 0, references: tuple[str, ...] = ("golden", "human")) -> None:
        """The stages before the arms'."""
        m, r, labels = (replicate(root, seed) for root in (self.models, self.results, self.results.with_name("labels")))
        data, base = self.results.with_name("data"), self.models / "base_model"
        self.stage("prepare", "prepare", "", [], [data])
        self.stage("base_model", "base_model", "", [data], [self.results / "base_model", base])
        self.stage(f"labels@{seed}", "labels", f"--seed {seed}", [data], [r / "labels", labels])
        self.stage(f"sft@{seed}", "sft", f"--seed {seed}", [data, base], [r / "sft", m / "sft"])
        for name in ("base", "all", "no_adversarial"):
            outs = [r / "reward" / name, m / "reward" / name]
            self.stage(f"reward@{name}-{seed}", "reward", f"--reward-model {name} --seed {seed}", [labels, base], outs)
        for name in references:
            folder = r / "references" / name / "training"
            outs = [folder, m / "references" / name]
            self.stage(f"reference@{name}-{seed}", "reference", f"--name {name} --seed {seed}", [data, labels, m / "sft"], outs)
        for half in ("lm", "rm"):
            self.sample("first", seed, "r1", m / "sft", half)
        self.reward("first", seed, "r1")
        for kind in ("base", "no_adversarial", "adversarial", "oracle"):
            model = first(self.models, seed) / "reward" / kind if kind == "adversarial" else m / "reward" / kind
            self.score(f"score_first@{kind}-{seed}", first(self.results, seed) / "score" / kind, "first", seed, "r1", model)

    def arm(self, method: str, kind: str, seed: int = 0, rounds: tuple[str, ...] = ("r1", "r2")) -> None:
        """The stages of an arm."""
        arm = Arm(method, kind, seed)
        name, m = arm.name, replicate(self.models, seed)
        policy = m / "sft"
        for round_id in rounds:
            scores = arm.score(self.results, round_id)
            if round_id != "r1":
                self.sample(name, seed, round_id, policy, "lm")
                if kind == "adversarial":
                    self.sample(name, seed, round_id, policy, "rm")
                    self.reward(name, seed, round_id)
                reward = self.models / "oracle" if kind == "oracle" else arm.reward(self.models, round_id)
                self.score(f"score@{name}-{round_id}", scores, name, seed, round_id, reward)
            deps = [policy, scores, f"apo_bench/methods/{method}.py"]
            policy = arm.policy(self.models, round_id)
            self.stage(
                f"align@{name}-{round_id}",
                "align",
                f"--seed {seed} --round {round_id}",
                deps,
                [arm.training(self.results, round_id), policy],
            )
            responses, opponent = arm.responses(self.responses, round_id), Reference("sft", seed).responses(self.responses)
            outs = [arm.responding(self.results, round_id), responses]
            self.stage(f"respond@{name}-{round_id}", "respond", f"--seed {seed} --round {round_id}", [policy], outs)
            deps, outs = [responses, policy, m / "sft", m / "reward" / "all"], [arm.evaluation(self.results, round_id)]
            self.stage(f"evaluate@{name}-{round_id}", "evaluate", f"--seed {seed} --round {round_id}", deps, outs)
            self.stage(
                f"judge@{name}-{round_id}",
                "judge",
                f"--round {round_id}",
                [responses, opponent],
                [arm.judgement(self.results, round_id, "sft")],
            )

    def sample(self, name: str, seed: int, round_id: str, policy: Path, half: str) -> None:
        """Samples of a policy on a half of the prompts."""
        prompts = self.results.with_name("data") / ("prompts_lm.jsonl" if half == "lm" else "golden_rm.jsonl")
        folder = self._folder(name, seed, round_id)
        outs = [self.results / folder / "sample" / half, self.samples / folder / f"{half}.jsonl"]
        self.stage(
            f"sample_{half}@{name}{seed or ''}-{round_id}",
            "sample",
            f"--half {half} --seed {seed} --round {round_id}",
            [prompts, policy],
            outs,
        )

    def reward(self, name: str, seed: int, round_id: str) -> None:
        """A retrained reward model."""
        folder = self._folder(name, seed, round_id)
        place = Path(folder, "reward", "adversarial") if name == "first" else Path(folder, "reward")
        labels = replicate(self.results.with_name("labels"), seed)
        deps = [self.results.with_name("data"), labels, self.models / "base_model", self.samples / folder / "rm.jsonl"]
        outs = [self.results / place, self.models / place]
        self.stage(
            f"adversarial_reward@{name}{seed or ''}-{round_id}",
            "adversarial_reward",
            f"--reward-model adversarial --seed {seed} --round {round_id}",
            deps,
            outs,
        )

    def score(self, stage: str, results: Path, name: str, seed: int, round_id: str, reward: Path) -> None:
        """Scores of samples, by gold where the reward model is called oracle."""
        samples = self.samples / self._folder(name, seed, round_id) / "lm.jsonl"
        is_gold = reward.name == "oracle"
        self.stage(
            stage, "score_gold" if is_gold else "score", f"--round {round_id}", [samples] if is_gold else [samples, reward], [results]
        )

    def save(self) -> Path:
        """Writes everything; counts are added to metrics that are there already."""
        self.file.write_text(yaml.safe_dump({"schema": "2.0", "stages": self.stages}, sort_keys=False))
        for path, value in self.left.items():
            path = self.file.parent / path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps((json.loads(path.read_text()) if path.is_file() else {}) | value))
        return self.file

    @staticmethod
    def _folder(name: str, seed: int, round_id: str) -> str:
        return f"s{seed}/first" if name == "first" else f"s{seed}/arms/{name.removesuffix(f'-s{seed}')}/{round_id}"


def declared(script: str) -> Stage:
    """What a stage says of itself."""
    return importlib.import_module(f"pipeline.stages.{script}").STAGE


def md5(path: Path | str) -> str:
    """What dvc.lock says of a path: any checksum will do, so the path's own."""
    return hashlib.md5(str(path).encode()).hexdigest()
