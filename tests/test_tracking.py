"""The MLflow store says what DVC's outputs say, and nothing else: a real store, and outputs of two arms and two rounds made by hand.

One replicate, but for the last tests: two replicates, and the controls.
"""

import contextlib
import copy
import errno
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import ViewType
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from apo_bench.core.errors import DataError, MissingInputError, OutputError
from apo_bench.evaluation.metrics import METRICS
from apo_bench.provenance.times import SECONDS
from apo_bench.tracking import database as databases
from apo_bench.tracking import store
from apo_bench.tracking.notes import GOLD_UNKNOWN_NOTE
from apo_bench.tracking.runs import SHOWN
from pipeline.stages.track import main

ROWS = {
    "pairs": {"id": "1", "subset": "helpful", "dialogue": "\n\nHuman: Hi\n\nAssistant:", "chosen": "a", "rejected": "b"},
    "prompts": {"id": "1", "subset": "helpful", "dialogue": "\n\nHuman: Hi\n\nAssistant:"},
    "responses": {"id": "1", "subset": "helpful", "dialogue": "\n\nHuman: Hi\n\nAssistant:", "response": "a"},
}
FILES = {
    "pretraining": "responses",
    "demonstrations": "responses",
    "golden_rm": "responses",
    "pairs_rm": "pairs",
    "pairs_lm": "pairs",
    "pairs_further": "pairs",
    "pairs_test": "pairs",
    "prompts_lm": "prompts",
    "prompts_test": "prompts",
}
ARMS = {"dpo-base-s0": ("dpo", "base", 0), "dpo-adversarial-s0": ("dpo", "adversarial", 0)}
MEANS = {name.removesuffix("-s0") for name in ARMS}
KINDS = {
    "fixed_reward_models": ["base", "no_adversarial"],
    "retrained_reward_models": ["adversarial"],
    "gold_reward_models": ["oracle"],
    "own_reward_models": ["mine"],
}
PLAIN_RUNS = {"base_model", "sft-s0", "golden-s0", "best_of_n-s0", "comparison", "reward-base-s0", "reward-all-s0", "judge-pairs_test"}
RUNS = {*PLAIN_RUNS, *ARMS, *MEANS, "reward-first-adversarial-s0-r1", "reward-dpo-adversarial-s0-r2"}


CONTRAST = {
    "contrast": "one over the other",
    "measure": "RM_all",
    "value": 0.5,
    "low": -1.0,
    "high": 2.0,
    "smallest": 0.1,
    "detectable": 4.0,
}
CLAIM = {"claim": "One is better", "verdict": "undecided", "p": 1.0, "why": "cannot be told"}
CLAIM |= {"contrasts": [CONTRAST, CONTRAST | {"value": 0.25, "low": -0.5, "high": 1.0}]}
NOT_TESTED = {"claim": "Another is worse", "verdict": "not tested", "p": None, "why": "the run has no gail", "contrasts": []}

WEIGHTS = {"human_weight": 1.0, "adversarial_weight": 1.0}


class Project:
    """A folder with out/, report/summary.json and dvc.lock."""

    def __init__(self, folder: Path, arms: dict[str, tuple[str, str, int]] = ARMS) -> None:
        self.folder, self.arms = folder, arms
        self.seeds = list(dict.fromkeys(seed for _, _, seed in arms.values()))
        self.kinds = list(dict.fromkeys(kind for _, kind, _ in arms.values()))
        self.stages: dict = {}
        self.summary: dict = {}
        for name, kind in FILES.items():
            self.file(f"out/data/{name}.jsonl", json.dumps(ROWS[kind]) + "\n")
        self.stage("prepare", ["out/data"], {"prepare": {"num_rm_prompts": 1}})
        self.stage("base_model", self.training("out/results/base_model", "out/models/base_model"))
        for seed in self.seeds:
            self.replicate(seed)
        for name, arm in arms.items():
            self.arm(name, *arm)
        self.judgement("judge_human@pairs_test", "out/results/judge/pairs_test")
        self.make_summary()
        self.save()

    def replicate(self, seed: int) -> None:
        """What a seed has before its arms."""
        s = f"s{seed}"
        for name in ("pairs_rm", "pairs_lm", "pairs_further"):
            self.file(f"out/labels/{s}/{name}.jsonl", json.dumps(ROWS["pairs"] | {"id": s}) + "\n")
        self.stage(f"sft@{seed}", self.training(f"out/results/{s}/sft", f"out/models/{s}/sft"), {"sft": {"epochs": 1}})
        self.stage(f"evaluate_sft@{seed}", [f"out/results/{s}/references/sft/evaluation"], {"sampling.test": {"top_k": 5}})
        golden = self.training(f"out/results/{s}/references/golden/training", f"out/models/{s}/references/golden")
        evaluation = f"out/results/{s}/references/golden/evaluation"
        self.stage(f"reference@golden-{seed}", [*golden, evaluation], {"references.golden": {"epochs": 1}})
        best_of_n = f"out/results/{s}/references/best_of_n/evaluation"
        self.stage(f"best_of_n@{seed}", [best_of_n], {"sampling.train": {"temperature": 1.0}})
        for name in ("base", "all", *({"no_adversarial"} & {*self.kinds})):
            self.reward(f"reward@{name}-{seed}", f"{s}/reward/{name}", 0.7, {f"reward.{name}": {"epochs": 1}})
        first = f"adversarial_reward_first@adversarial-{seed}"
        self.reward(first, f"{s}/first/reward/adversarial", 0.71, {"reward.adversarial": WEIGHTS})
        self.stage(f"sample_first@{seed}", [f"out/samples/{s}/first/lm.jsonl"], {"sampling.train": {"temperature": 1.0}})
        for name in self.kinds:
            self.score(f"score_first@{name}-{seed}", f"out/results/{s}/first/score/{name}", f"out/samples/{s}/first/lm.jsonl")

    def file(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text, encoding="utf-8")

    def training(self, results: str, model: str, loss: float = 2.0) -> list[str]:
        """The files of a training of two steps; returns its outs."""
        self.file(f"{results}/curves.csv", f"step,epoch,loss\n1,1,{loss}\n2,1,{loss / 2}\n")
        self.file(f"{results}/metrics.json", json.dumps({"final_loss": loss / 2, "num_steps": 2}))
        self.file(f"{model}/model.safetensors", f"weights of loss {loss}")
        self.file(f"{model}/tokenizer.json", "{}")
        return [model, results]

    def reward(self, stage: str, folder: str, human_accuracy: float, params: dict, is_own: bool = False) -> None:
        """A reward model and its evaluation."""
        model, results = self.training(f"out/results/{folder}", f"out/models/{folder}")
        evaluation = f"out/results/reward_evaluations/{folder}"
        self.file(f"{evaluation}/metrics.json", json.dumps({"human_accuracy": human_accuracy}))
        self.stage(stage, [model] if is_own else [model, results], params)
        self.stage(f"evaluate_{stage}", [evaluation], {"sft.max_length": 128}, deps=[model])

    def score(self, stage: str, results: str, samples: str) -> None:
        self.file(f"{results}/metrics.json", json.dumps({"mean_gold": 1.5, "best_of_n_gain": 0.5}))
        self.stage(stage, [results], deps=[samples])

    def arm(self, name: str, method: str, kind: str, seed: int) -> None:
        for round_id in ("r1", "r2"):
            folder = f"s{seed}/arms/{method}-{kind}/{round_id}"
            if round_id == "r2":
                self.stage(f"sample@{name}", [f"out/samples/{folder}/lm.jsonl"], {"sampling.train": {"temperature": 1.0}})
                self.score(f"score@{name}", f"out/results/{folder}/score", f"out/samples/{folder}/lm.jsonl")
                if kind == "adversarial":
                    self.reward(f"adversarial_reward@{name}", f"{folder}/reward", 0.72, {"reward.adversarial": WEIGHTS})
            align = self.training(f"out/results/{folder}/align", f"out/models/{folder}/policy")
            self.stage(f"align@{name}-{round_id}", align, {"methods.dpo": {"beta": 0.1, "learning_rates": [0.1, 0.2]}})
            self.stage(f"evaluate@{name}-{round_id}", [f"out/results/{folder}/evaluation"], {"sampling.test": {"top_k": 5}})
        self.judgement(f"judge@{name}-r2", f"out/results/s{seed}/arms/{method}-{kind}/r2/judge/sft")

    def judgement(self, stage: str, results: str) -> None:
        """The verdicts of a judge, with what it was asked."""
        self.file(f"{results}/verdicts.jsonl", json.dumps({"id": "p1", "outcome": 1.0, "reasoning_own_first": "A is right."}) + "\n")
        self.stage(stage, [results], {"judge.provider": {"source": "gold", "noise": 1.0}})

    def stage(self, name: str, outs: list[str], params: dict | None = None, deps: tuple[str, ...] | list[str] = ()) -> None:
        self.stages[name] = {
            "cmd": f"python -m pipeline {name}",
            "deps": [{"path": path, "md5": "0"} for path in deps],
            "params": {"params.yaml": params or {}},
            "outs": [{"path": path, "md5": hashlib.md5(path.encode()).hexdigest() + ".dir"} for path in outs],
        }

    def make_summary(self) -> None:
        def estimates(value: float) -> dict:
            return {key: {"value": value, "low": value - 1, "high": value + 1, "standard_error": 0.5} for key in ("reward_all", "gold")}

        kinds = {key: [name for name in names if name in self.kinds] for key, names in KINDS.items()}
        self.summary = {
            "profile": "tiny",
            "run": kinds,
            "policies": {"sft": {"kind": "reference", "rounds": {"r0": estimates(0.0)}}},
            "replicates": {
                f"{name}-s{seed}": {"kind": "reference", "seed": seed, "rounds": {"r0": estimates(value)}}
                for name, value in (("sft", 0.0), ("golden", 9.0), ("best_of_n", 1.0))
                for seed in self.seeds
            },
            "reward_models": {"base": {"human_accuracy": 0.7}, "all": {"human_accuracy": 0.7}},
            "claims": {
                "num_seeds": len(self.seeds),
                "primary": "gold",
                "families": {"gold": {"C3": CLAIM, "C6": NOT_TESTED}, "RM_all": {"C3": CLAIM | {"verdict": "reproduced"}}},
            },
            "differences": {"dpo-adversarial": {"rounds": {"r2": {"gold": estimates(1.0)["gold"] | {"verdict": "undecided"}}}}},
        }
        judged = {"estimates": {"win_rate": estimates(0.6)["gold"], "human_kappa": estimates(0.1)["gold"]}}
        judged |= {"counts": {"num_wins": 1, "usd": 0.5}, "served_models": ["m"], "findings": ["It favours the first answer."]}
        self.summary["judge"] = {"judge": "m", "human": {"pairs_test": judged}}
        self.summary["judge"]["arms"] = {"sft": {name: {"r2": judged} for name in self.arms}, "base": {}}
        for bonus, (name, (method, kind, seed)) in enumerate(self.arms.items()):
            rounds = {"r1": estimates(1.0 + bonus), "r2": estimates(2.0 + bonus)}
            arm = {"kind": "arm", "method": method, "reward_model": kind, "seed": seed, "rounds": rounds}
            self.summary["replicates"][name] = arm
            group = name.removesuffix(f"-s{seed}")
            self.summary["policies"].setdefault(group, copy.deepcopy(arm))
            accuracies = {"adversarial": (0.71, 0.72), "oracle": ()}.get(kind, (0.7, 0.7))
            measured = {f"r{i}": {"human_accuracy": value} for i, value in enumerate(accuracies, start=1)} or {"r1": {}, "r2": {}}
            self.summary["reward_models"] |= {name: measured, group: measured}

    def save(self) -> None:
        self.file("report/summary.json", json.dumps(self.summary))
        self.file("dvc.lock", yaml.safe_dump({"schema": "2.0", "stages": self.stages}, sort_keys=False))

    def set_score(self, arm: str, value: float, metric: str = "gold") -> None:
        """The score of a replicate, which here is the mean over all, after the last round."""
        for policy in (self.summary["replicates"][arm], self.summary["policies"][arm.removesuffix("-s0")]):
            policy["rounds"]["r2"][metric]["value"] = value
        self.save()

    def forget_gold(self) -> None:
        """The outputs as they are where the true reward is unknown."""
        self.summary["differences"]["dpo-adversarial"]["rounds"]["r2"].pop("gold")
        for policy in (*self.summary["policies"].values(), *self.summary["replicates"].values()):
            for estimates in policy["rounds"].values():
                del estimates["gold"]
        for file in self.folder.glob("out/results/**/score/**/metrics.json"):
            file.write_text(json.dumps({"mean_reward": 0.5, "golden_accuracy": 0.6}))
        self.save()

    def retrain(self, arm: str) -> None:
        """The arm's alignment of r2 ran again: other curves, other weights."""
        name, folder = f"align@{arm}-r2", f"s0/arms/{arm.removesuffix('-s0')}/r2"
        self.training(f"out/results/{folder}/align", f"out/models/{folder}/policy", loss=8.0)
        for out in self.stages[name]["outs"]:
            out["md5"] = out["md5"][::-1].replace("rid.", "") + ".dir"
        self.save()

    def track(self) -> str:
        return main()[0]


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """A new database, which takes seconds to make: once for all tests."""
    folder = tmp_path_factory.mktemp("template")
    databases.make_database(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["mlflow.db"]
    return folder / "mlflow.db"


def new_project(folder: Path, database: Path, arms: dict[str, tuple[str, str, int]] = ARMS) -> Project:
    (folder / "mlflow").mkdir()
    shutil.copy(database, folder / "mlflow" / "mlflow.db")
    return Project(folder, arms)


@pytest.fixture(scope="module")
def shown(tmp_path_factory, database):
    """A project that was tracked once: not to be changed."""
    project = new_project(tmp_path_factory.mktemp("shown"), database)
    with contextlib.chdir(project.folder):
        said = project.track()
    assert said == f"{len(RUNS)} new, 0 updated, 0 unchanged, 0 removed runs; best dpo-adversarial-s0"
    return project


@pytest.fixture
def project(tmp_path, database, monkeypatch) -> Project:
    """The outputs of a pipeline in the current folder, and an empty store."""
    monkeypatch.chdir(tmp_path)
    return new_project(tmp_path, database)


@pytest.fixture
def tracked(tmp_path, shown, monkeypatch) -> Project:
    """A copy of `shown` in the current folder."""
    shutil.copytree(shown.folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    copied = copy.deepcopy(shown)
    copied.folder = tmp_path
    databases.move_artifacts(client_of(copied), *((project.folder / "mlflow").as_uri() for project in (shown, copied)))
    return copied


def client_of(project: Project) -> MlflowClient:
    """Reads the store as a user would."""
    return MlflowClient(f"sqlite:///{project.folder}/mlflow/mlflow.db")


def runs_of(client: MlflowClient, view: int = ViewType.ACTIVE_ONLY) -> dict:
    """The runs of the experiment by name, each name once."""
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id], run_view_type=view)
    assert len({run.info.run_name for run in runs}) == len(runs)
    return {run.info.run_name: run for run in runs}


def models_of(client: MlflowClient) -> list:
    return list(client.search_logged_models([client.get_experiment_by_name("tiny").experiment_id]))


def history(client: MlflowClient, run, key: str) -> list[tuple[int, float]]:
    """(step, value) of a metric."""
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key)]


def content(client: MlflowClient) -> dict[str, dict]:
    """All that the runs show, but for ids, times and hashes."""
    models = models_of(client)
    return {
        name: {
            "metrics": {key: sorted(history(client, run, key)) for key in run.data.metrics},
            "params": run.data.params,
            "tags": {key: value for key, value in run.data.tags.items() if key not in ("dvc.lock_hash", store.FINGERPRINT)},
            "data": sorted((item.dataset.name, item.dataset.digest, item.tags[0].value) for item in run.inputs.dataset_inputs),
            "models": sorted(
                (model.name, model.tags["dvc.md5"], sorted((metric.key, metric.step, metric.value) for metric in model.metrics or []))
                for model in models
                if model.source_run_id == run.info.run_id
            ),
            "num_outputs": len(run.outputs.model_outputs),
            "status": run.info.status,
        }
        for name, run in runs_of(client).items()
    }


def dump(project: Project) -> str:
    """The whole database as SQL."""
    with sqlite3.connect(project.folder / "mlflow" / "mlflow.db") as connection:
        return "\n".join(connection.iterdump())


def test_runs_and_their_tags(shown):
    client = client_of(shown)
    runs = runs_of(client)
    assert set(runs) == RUNS
    tags = runs["dpo-adversarial-s0"].data.tags
    expected = {"kind": "replicate", "profile": "tiny", "method": "dpo", "reward_model": "adversarial", "seed": "0"}
    assert expected.items() <= tags.items()
    assert "align" in tags["stage"]
    mean = runs["dpo-adversarial"].data.tags
    assert (mean["kind"], mean["seed"]) == ("arm", "0") and history(client, runs["dpo-adversarial"], "evaluation/gold") == [
        (0, 0.0),
        (1, 2.0),
        (2, 3.0),
    ]
    assert len({run.data.tags["dvc.lock_hash"] for run in runs.values()}) == len(RUNS)
    assert all(run.info.status == "FINISHED" for run in runs.values())


def test_claims_are_tags_of_the_comparison(shown):
    run = runs_of(client_of(shown))["comparison"]
    assert {key: value for key, value in run.data.tags.items() if key.startswith("claim")} == {
        "claim.C3": "undecided",
        "claim.C6": "not tested",
        "claim_by_RM_all.C3": "reproduced",
    }


def test_second_call_writes_nothing(tracked):
    before = dump(tracked)
    assert tracked.track().startswith(f"0 new, 0 updated, {len(RUNS)} unchanged, 0 removed")
    assert dump(tracked) == before


def test_rounds_are_steps_under_the_same_keys_for_all_arms(shown):
    client = client_of(shown)
    runs = runs_of(client)
    base, adversarial = (runs[name] for name in ARMS)
    assert set(base.data.metrics) == set(adversarial.data.metrics)
    assert history(client, adversarial, "evaluation/gold") == [(0, 0.0), (1, 2.0), (2, 3.0)]
    assert history(client, adversarial, "reward_model/human_accuracy") == [(1, 0.71), (2, 0.72)]
    assert history(client, adversarial, "training/loss") == [(1, 2.0), (2, 1.0), (3, 2.0), (4, 1.0)], "the steps of all rounds in a row"
    assert history(client, adversarial, "training/final_loss") == [(1, 1.0), (2, 1.0)]
    assert history(client, runs["sft-s0"], "evaluation/gold") == [(0, 0.0)]
    assert history(client, runs["golden-s0"], "evaluation/gold") == [(2, 9.0)], "at the last round, so that it compares with the arms"
    assert history(client, runs["reward-dpo-adversarial-s0-r2"], "reward_model/human_accuracy") == [(2, 0.72)]
    assert history(client, runs["reward-base-s0"], "training/loss") == [(1, 2.0), (2, 1.0)]
    assert len(adversarial.data.metrics) < 40 and not runs["comparison"].data.metrics


def test_all_numbers_are_a_table_with_their_intervals(shown):
    client = client_of(shown)
    rows = table_of(client, runs_of(client)["dpo-adversarial-s0"], "numbers")
    found = {(row["metric"], row["round"]): (row["value"], row["low"], row["high"]) for row in rows}
    assert len(found) == len(rows)
    assert [found["evaluation/gold", step] for step in (0, 1, 2)] == [(0.0, -1.0, 1.0), (2.0, 1.0, 3.0), (3.0, 2.0, 4.0)]
    assert found["judge/win_rate", 2] == (0.6, -0.4, 1.6)
    assert found["training/num_steps", 2] == (2.0, None, None), "no metric, but not lost"


def test_descriptions_say_what_runs_and_models_are(shown):
    client = client_of(shown)
    runs, models = runs_of(client), {model.name: model for model in models_of(client)}
    assert all(run.data.tags["mlflow.note.content"] for run in runs.values())
    note = runs["dpo-adversarial"].data.tags["mlflow.note.content"]
    assert "**DPO** with the reward model `adversarial`" in note and "seeds 0" in note and "After r2: gold **3.00** [2.00, 4.00]" in note
    note = models["reward-base-s0"].tags["mlflow.note.content"]
    assert "human test pairs 70.0%" in note and f"models:/{models['reward-base-s0'].model_id}" in note


def test_saved_views_show_columns_and_charts_that_are_there(shown):
    client = client_of(shown)
    experiment, runs = client.get_experiment_by_name("tiny"), runs_of(client)
    for view, kind in (("arms", "arm"), ("replicates", "replicate"), ("reward_models", "reward_model")):
        state = json.loads(experiment.tags[f"mlflow.sharedViewState.{view}"])
        assert {section["columns"] for section in state["compareRunSections"]} == {2}, "of three, names are cut at usual widths"
        assert f"viewStateShareKey={view})" in experiment.tags["mlflow.note.content"]
        found = client.search_runs([experiment.experiment_id], state["searchFilter"], order_by=[f"{state['orderByKey']} DESC"])
        assert {run.info.run_name for run in found} == {name for name, run in runs.items() if run.data.tags["kind"] == kind}
        order = state["orderByKey"].removeprefix("metrics.`").removesuffix("`")
        assert found[0].data.metrics[order] == max(run.data.metrics[order] for run in found)
        columns = {column.split(".`")[1].rstrip("`") for column in state["selectedColumns"]}
        assert len(columns & {*found[0].data.metrics, *found[0].data.tags}) >= 2
        sections = {section["uuid"] for section in state["compareRunSections"]}
        assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} <= sections


def test_a_run_lasts_as_long_as_its_stages(project):
    for name, entry in list(project.stages.items()):
        if name.startswith(("align@dpo-base", "reward@base")):
            project.file(f"out/times/{name}.json", json.dumps(dict.fromkeys(SECONDS, 2.5)))
            entry["outs"].append({"path": f"out/times/{name}.json", "md5": "0"})
    project.save()
    project.track()
    runs = runs_of(client_of(project))
    seconds = {name: (run.info.end_time - run.info.start_time) / 1000 for name, run in runs.items()}
    assert (seconds["dpo-base-s0"], seconds["dpo-base"], seconds["reward-base-s0"], seconds["comparison"]) == (7.5, 7.5, 2.5, 0.0)
    assert [run.info.run_name for run in sorted(runs.values(), key=lambda run: -run.info.start_time)][:2] == ["dpo-base", "dpo-adversarial"]


def test_params_are_those_that_the_stages_ran_with(shown):
    client = client_of(shown)
    runs = runs_of(client)
    base, adversarial = (runs[name].data.params for name in ARMS)
    arm = {"method": "dpo", "seed": "0", "method.beta": "0.1", "method.learning_rates": "[0.1, 0.2]"}
    common = arm | {"sampling.train.temperature": "1.0"}
    assert adversarial == common | {"reward_model": "adversarial", "reward.human_weight": "1.0", "reward.adversarial_weight": "1.0"}
    assert base == common | {"reward_model": "base", "reward.epochs": "1"}
    assert runs["dpo-base"].data.params == base
    assert runs["sft-s0"].data.params == {"seed": "0", "sft.epochs": "1"}
    params = json.loads(Path(client.download_artifacts(runs["sft-s0"].info.run_id, "params.json")).read_text(encoding="utf-8"))
    assert params == {"sft.epochs": "1", "sampling.test.top_k": "5"}


def test_data_has_the_digest_that_dvc_gives_it(shown):
    inputs = runs_of(client_of(shown))["reward-all-s0"].inputs.dataset_inputs
    digests = {item.dataset.name: item.dataset.digest for item in inputs}
    names = ("pairs_rm", "pairs_lm", "pairs_test")
    folders = {"pairs_rm": "out/labels/s0", "pairs_lm": "out/labels/s0", "pairs_test": "out/data"}
    assert digests == {name: hashlib.md5((shown.folder / folders[name] / f"{name}.jsonl").read_bytes()).hexdigest() for name in names}
    contexts = {item.dataset.name: item.tags[0].value for item in inputs}
    assert contexts == {"pairs_rm": "training", "pairs_lm": "training", "pairs_test": "evaluation"}
    assert json.loads(inputs[0].dataset.profile)["num_rows"] == 1


def artifacts_of(project: Project, model) -> Path:
    """The folder of a logged model's artifacts."""
    return project.folder / "mlflow/artifacts/tiny/models" / model.model_id / "artifacts"


def test_models_are_the_outputs_and_no_copies(tracked):
    client = client_of(tracked)
    model = next(model for model in models_of(client) if model.name == "dpo-base-s0-r2")
    source, linked = tracked.folder / model.tags["dvc.path"], artifacts_of(tracked, model)
    assert not (linked / "model/model.safetensors").samefile(source / "model.safetensors"), "the fixture has copied it"
    tracked.track()
    assert (linked / "model/model.safetensors").samefile(source / "model.safetensors")
    assert (linked / "components/tokenizer/tokenizer.json").samefile(source / "tokenizer.json")
    assert not (linked / "components/tokenizer/model.safetensors").exists()
    listed = [item.path for item in client.list_logged_model_artifacts(model.model_id, "model")]
    assert listed == ["model/model.safetensors", "model/tokenizer.json"], "MLflow refuses to list what a symbolic link points at"


def test_between_file_systems_models_are_symbolic_links(tracked, monkeypatch):
    monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "Invalid cross-device link")))
    tracked.track()
    model = next(model for model in models_of(client_of(tracked)) if model.name == "dpo-base-s0-r2")
    file = artifacts_of(tracked, model) / "model/model.safetensors"
    assert file.is_symlink() and not file.readlink().is_absolute() and file.read_text() == "weights of loss 2.0"


def test_weights_that_are_not_there_are_linked_when_they_come(project):
    source = project.folder / "out/models/s0/sft"
    source.rename(project.folder / "not-pulled")
    project.track()
    [model] = [model for model in models_of(client_of(project)) if model.name == "sft-s0"]
    assert not (artifacts_of(project, model) / "model").exists()
    (project.folder / "not-pulled").rename(source)
    assert project.track().startswith("0 new, 0 updated")
    assert (artifacts_of(project, model) / "model/model.safetensors").samefile(source / "model.safetensors")


def test_models_point_at_the_outputs(shown):
    client = client_of(shown)
    models = {model.name: model for model in models_of(client)}
    model = models["dpo-base-s0-r2"]
    assert model.tags["dvc.path"] == "out/models/s0/arms/dpo-base/r2/policy"
    assert model.tags["dvc.md5"] == hashlib.md5(model.tags["dvc.path"].encode()).hexdigest() + ".dir"
    assert {(metric.key, metric.value) for metric in model.metrics} >= {("evaluation/gold", 2.0), ("evaluation/reward_all", 2.0)}
    assert models["reward-first-adversarial-s0-r1"].model_type == "reward_model"
    assert len(models) == len(RUNS) - len({"comparison", "judge-pairs_test", "best_of_n-s0", *MEANS, *ARMS}) + 4, (
        "one a run, one a round for each of the two arms"
    )


def test_changed_stage_replaces_its_run(tracked):
    project, client = tracked, client_of(tracked)
    before = content(client)
    run = runs_of(client)["dpo-base-s0"]
    project.retrain("dpo-base-s0")
    assert project.track().startswith(f"0 new, 1 updated, {len(RUNS) - 1} unchanged")
    after = runs_of(client)["dpo-base-s0"]
    assert after.info.run_id == run.info.run_id
    assert after.data.tags["dvc.lock_hash"] != run.data.tags["dvc.lock_hash"]
    assert history(client, after, "training/loss") == [(1, 2.0), (2, 1.0), (3, 8.0), (4, 4.0)]
    assert history(client, after, "evaluation/gold") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    md5 = project.stages["align@dpo-base-s0-r2"]["outs"][0]["md5"]
    [model] = [model for model in models_of(client) if model.name == "dpo-base-s0-r2"]
    assert model.tags["dvc.md5"] == md5
    assert (artifacts_of(project, model) / "model/model.safetensors").read_text() == "weights of loss 8.0"
    texts = [file.read_text() for file in (project.folder / "mlflow").rglob("model.safetensors")]
    assert texts.count("weights of loss 8.0") == 1 and len(texts) == len(models_of(client)), "nothing keeps the weights that are gone"
    assert {name: value for name, value in content(client).items() if name != "dpo-base-s0"} == {
        name: value for name, value in before.items() if name != "dpo-base-s0"
    }


def track_and_be_killed(project: Project, step: str) -> None:
    """Another process tracks, and is killed -9 as it takes the step for the third time."""
    pid = os.fork()
    if not pid:
        done, calls = getattr(MlflowClient, step), []

        def kill(*arguments, **options):
            calls.append(step)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return done(*arguments, **options)

        setattr(MlflowClient, step, kill)
        project.track()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


def test_first_call_killed_in_the_middle_is_repaired(project, shown):
    track_and_be_killed(project, "log_inputs")
    assert project.track().startswith(f"{len(RUNS) - 3} new, 1 updated, 2 unchanged")
    assert content(client_of(project)) == content(client_of(shown))


@pytest.mark.parametrize("step", ["log_outputs", "set_terminated"])
def test_update_killed_in_the_middle_is_repaired(tracked, shown, step):
    tracked.stages = {name: {**entry, "cmd": "another"} for name, entry in tracked.stages.items()}
    tracked.save()
    track_and_be_killed(tracked, step)
    assert tracked.track().startswith(f"0 new, {len(RUNS) - 2} updated, 2 unchanged")
    assert content(client_of(tracked)) == content(client_of(shown))


def test_arm_that_the_run_no_longer_has_is_not_shown(tracked):
    project, client = tracked, client_of(tracked)
    run = runs_of(client)["dpo-adversarial-s0"]
    gone = {key: project.summary[key].pop(name) for key, name in (("policies", "dpo-adversarial"), ("replicates", "dpo-adversarial-s0"))}
    project.save()
    assert "4 removed runs; best dpo-base-s0" in project.track()
    assert set(runs_of(client)) == {*PLAIN_RUNS, "dpo-base-s0", "dpo-base"}
    assert {model.source_run_id for model in models_of(client)} <= {run.info.run_id for run in runs_of(client).values()}
    project.summary["policies"]["dpo-adversarial"], project.summary["replicates"]["dpo-adversarial-s0"] = gone.values()
    project.save()
    project.track()
    assert runs_of(client, ViewType.ALL)["dpo-adversarial-s0"].info.run_id == run.info.run_id
    assert set(runs_of(client)) == RUNS


def test_runs_of_the_user_are_left_alone(tracked):
    project, client = tracked, client_of(tracked)
    mine = client.create_run(client.get_experiment_by_name("tiny").experiment_id, run_name="mine")
    project.retrain("dpo-base-s0")
    project.track()
    assert client.get_run(mine.info.run_id).info.lifecycle_stage == "active"


def test_alias_follows_the_best_arm(tracked):
    project, client = tracked, client_of(tracked)

    def champion() -> tuple[str, str]:
        version = client.get_model_version_by_alias("tiny-best", "champion")
        model = client.get_logged_model(version.source.removeprefix("models:/"))
        return str(version.version), model.name

    assert champion() == ("1", "dpo-adversarial-s0-r2")
    project.set_score("dpo-base-s0", 5.0)
    assert project.track().endswith("best dpo-base-s0")
    assert champion() == ("2", "dpo-base-s0-r2")
    project.set_score("dpo-base-s0", 1.0)
    project.track()
    assert champion() == ("1", "dpo-adversarial-s0-r2"), "the same model has its version already"
    project.retrain("dpo-adversarial-s0")
    project.track()
    assert champion() == ("3", "dpo-adversarial-s0-r2"), "another model under the same name is another version"


def best_of(project: Project, name: str = "tiny-best") -> tuple[str, str]:
    """The model that the alias points at, and what is said of it."""
    client = client_of(project)
    model = client.get_logged_model(client.get_model_version_by_alias(name, "champion").source.removeprefix("models:/"))
    return model.name, client.get_registered_model(name).description


def test_the_best_reward_model_is_not_one_that_only_evaluates(project):
    project.file("out/results/reward_evaluations/s0/reward/all/metrics.json", json.dumps({"human_accuracy": 0.99}))
    project.track()
    name, description = best_of(project, "tiny-best-reward")
    assert name == "reward-dpo-adversarial-s0-r2" and "orders human test pairs best" in description


def test_best_is_the_arm_with_the_highest_gold_not_the_one_that_pleases_rm_all(tracked):
    tracked.set_score("dpo-base-s0", 100.0, "reward_all")
    assert tracked.track().endswith("best dpo-adversarial-s0")
    assert best_of(tracked) == ("dpo-adversarial-s0-r2", "The arm with the highest gold after the last round")


def test_without_gold_the_best_is_by_rm_all_and_the_note_says_that_gold_is_unknown(project, shown):
    project.forget_gold()
    project.set_score("dpo-base-s0", 100.0, "reward_all")
    assert project.track().endswith("best dpo-base-s0")
    assert best_of(project) == ("dpo-base-s0-r2", "The arm with the highest RM_all after the last round")
    keys = {key for run in runs_of(client_of(project)).values() for key in run.data.metrics}
    assert "evaluation/reward_all" in keys and "samples/mean_reward" in keys and not [key for key in keys if "gold" in key.split("_")]
    assert not [key for key in keys if key.endswith(("/gold", "/mean_gold"))]
    notes = [client_of(of).get_experiment_by_name("tiny").tags["mlflow.note.content"] for of in (project, shown)]
    assert [GOLD_UNKNOWN_NOTE in note for note in notes] == [True, False]


def test_description_of_the_best_is_brought_up_to_date(tracked):
    client_of(tracked).update_registered_model("tiny-best", "The arm with the longest name")
    tracked.track()
    assert best_of(tracked)[1] == "The arm with the highest gold after the last round"


@pytest.mark.parametrize(("name", "file"), [("base_model", "pretraining"), ("sft-s0", "demonstrations")])
def test_model_that_was_taken_as_it_is_read_no_data(project, name, file):
    folder = "out/results/base_model" if name == "base_model" else "out/results/s0/sft"
    project.file(f"{folder}/metrics.json", json.dumps({"num_steps": 0}))
    project.file(f"{folder}/curves.csv", "step\n")
    (project.folder / f"out/data/{file}.jsonl").unlink()
    project.track()
    run = runs_of(client_of(project))[name]
    assert "training/loss" not in run.data.metrics and "training/final_loss" not in run.data.metrics
    assert [item for item in run.inputs.dataset_inputs if item.tags[0].value == "training"] == []


def test_models_of_ones_own_are_runs_with_their_scores_and_no_training(project):
    """A policy in each replicate, with the one model of it; a reward model once, which is the best only if it trains policies."""
    project.file("out/models/own/references/mine/model.safetensors", "weights")
    project.stage("own_policy@mine", ["out/models/own/references/mine"], {"references.own.mine": {"folder": "inputs/mine"}})
    project.stage("evaluate_own@mine-0", ["out/results/s0/references/mine/evaluation"], {"sampling.test": {"top_k": 5}})
    own = copy.deepcopy(project.summary["replicates"]["golden-s0"]) | {"is_own": True}
    own["rounds"]["r0"]["own_reward_judge"] = own["rounds"]["r0"]["gold"] | {"value": 4.0}
    project.summary["replicates"]["mine-s0"] = own
    project.reward("own_reward@judge", "own/reward/judge", 0.99, {"reward.own.judge": {"folder": "inputs/judge"}}, is_own=True)
    project.summary["reward_models"]["judge"] = {"human_accuracy": 0.99}
    project.summary["claims"]["own"] = {"gold": {"mine over SFT": CLAIM}}
    project.save()
    project.track()
    client = client_of(project)
    runs = runs_of(client)
    mine, judge = runs["mine-s0"], runs["reward-judge"]
    assert mine.data.tags["kind"] == "reference" and "from elsewhere" in mine.data.tags["mlflow.note.content"]
    assert mine.data.params == {"method": "mine", "seed": "0", "method.folder": "inputs/mine"}
    assert history(client, mine, "evaluation/own_reward_judge") == [(2, 4.0)] and "training/loss" not in mine.data.metrics
    assert judge.data.metrics["reward_model/human_accuracy"] == 0.99
    assert not [item for run in (mine, judge) for item in run.inputs.dataset_inputs if item.tags[0].value == "training"]
    assert best_of(project, "tiny-best-reward")[0] == "reward-dpo-adversarial-s0-r2"
    assert "own_policies_by_gold.json" in [file.path for file in client.list_artifacts(runs["comparison"].info.run_id)]


def test_an_ablation_has_read_only_what_it_trains_on(tracked: Project) -> None:
    for name, entry in tracked.stages.items():
        if name.startswith("adversarial_reward"):
            entry["params"]["params.yaml"] = {"reward.adversarial": {"player": "gail", "adversarial_weight": 0.1}}
    tracked.save()
    tracked.track()
    runs = runs_of(client_of(tracked))
    for name, more in (
        ("reward-first-adversarial-s0-r1", []),
        ("reward-dpo-adversarial-s0-r2", []),
        ("dpo-adversarial-s0", ["prompts_lm"]),
    ):
        inputs = runs[name].inputs.dataset_inputs
        assert sorted(item.dataset.name for item in inputs if item.tags[0].value == "training") == sorted(["golden_rm", *more]), name


def test_policies_are_evaluated_on_the_test_prompts_and_reward_models_on_the_test_pairs(shown):
    runs = runs_of(client_of(shown))
    evaluated_on = {
        name: [item.dataset.name for item in run.inputs.dataset_inputs if item.tags[0].value == "evaluation"] for name, run in runs.items()
    }
    policies = {name for name in RUNS if name in ("sft-s0", "golden-s0", "best_of_n-s0", *ARMS, *MEANS)}
    assert {name for name, names in evaluated_on.items() if names == ["prompts_test"]} == policies
    assert {name for name, names in evaluated_on.items() if names == ["pairs_test"]} == {
        name for name in RUNS if name.startswith(("reward-", "judge-"))
    }


def test_comparison_holds_the_page_and_the_table(project):
    client = client_of(project)
    project.file("report/index.html", "<p>first</p>")
    project.track()
    project.file("report/index.html", "<p>second</p>")
    assert project.track().startswith("0 new, 1 updated")
    run = runs_of(client)["comparison"]
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {
        *("index.html", "summary.json", "differences.json", "claims.json", "claims_by_RM_all.json", "params.json")
    }
    assert Path(client.download_artifacts(run.info.run_id, "index.html")).read_text(encoding="utf-8") == "<p>second</p>"
    table = json.loads(Path(client.download_artifacts(run.info.run_id, "differences.json")).read_text(encoding="utf-8"))
    row = dict(zip(table["columns"], table["data"][0], strict=True))
    assert (row["arm"], row["verdict"]) == ("dpo-adversarial", "undecided")
    claims = table_of(client, run, "claims")
    assert [(row["name"], row["verdict"], row["value"], row["detectable"]) for row in claims] == [
        ("C3", "undecided", 0.5, 4.0),
        ("C3", "undecided", 0.25, 4.0),
        ("C6", "not tested", None, None),
    ]
    assert claims[2]["why"] == "the run has no gail"


def table_of(client: MlflowClient, run, name: str) -> list[dict]:
    """The rows of a table that MLflow shows."""
    tables = [entry["path"] for entry in json.loads(run.data.tags["mlflow.loggedArtifacts"])]
    assert f"{name}.json" in tables
    table = json.loads(Path(client.download_artifacts(run.info.run_id, f"{name}.json")).read_text(encoding="utf-8"))
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def test_verdicts_of_the_judge_and_its_audit_stand_in_the_run_of_the_arm(shown):
    client = client_of(shown)
    run = runs_of(client)["dpo-base-s0"]
    assert history(client, run, "judge/win_rate") == [(2, 0.6)]
    assert run.data.tags["judge.findings"] == "It favours the first answer."
    (row,) = table_of(client, run, "judge_verdicts")
    assert (row["file"], row["id"], row["reasoning_own_first"]) == (
        "out/results/s0/arms/dpo-base/r2/judge/sft/verdicts.jsonl",
        "p1",
        "A is right.",
    )


def test_the_test_of_the_judge_on_human_pairs_is_a_run(shown):
    client = client_of(shown)
    run = runs_of(client)["judge-pairs_test"]
    assert (run.data.tags["kind"], run.data.tags["judge"]) == ("judge", "m")
    assert history(client, run, "judge/human_kappa") == [(0, 0.1)] and "judge/win_rate" not in run.data.metrics
    assert run.data.params["judge.provider.source"] == "gold"
    assert len(table_of(client, run, "judge_verdicts")) == 1


def test_changed_verdicts_replace_the_run(project):
    project.track()
    project.file("out/results/s0/arms/dpo-base/r2/judge/sft/verdicts.jsonl", json.dumps({"id": "p1", "outcome": 0.0}) + "\n")
    assert project.track().startswith("0 new, 1 updated")
    client = client_of(project)
    assert table_of(client, runs_of(client)["dpo-base-s0"], "judge_verdicts")[0]["outcome"] == 0.0


def test_without_a_judge_there_is_nothing_of_it(project):
    del project.summary["judge"]
    project.save()
    project.track()
    runs = runs_of(client_of(project))
    assert set(runs) == RUNS - {"judge-pairs_test"}
    assert not [key for run in runs.values() for key in run.data.metrics if key.startswith("judge")]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("out/results/s0/arms/dpo-base/r2/judge/sft/verdicts.jsonl", "verdicts.jsonl: no such file"),
        ("dvc.lock", "dvc.lock: no such file"),
        ("report/summary.json", "summary.json: no such file"),
        ("out/results/s0/sft/curves.csv", "curves.csv: no such file"),
        ("out/results/s0/reward/base/metrics.json", "metrics.json: no such file"),
        ("out/data/pairs_test.jsonl", "pairs_test.jsonl: no such file"),
        ("out/data/pretraining.jsonl", "pretraining.jsonl: no such file"),
    ],
)
def test_missing_file_is_named_and_nothing_written(project, missing, message):
    (project.folder / missing).unlink()
    before = dump(project)
    with pytest.raises(MissingInputError, match=message):
        project.track()
    assert dump(project) == before


def test_stage_that_has_not_finished_is_named(project):
    del project.stages["align@dpo-base-s0-r2"]
    project.save()
    with pytest.raises(MissingInputError, match="no stage made out/models/s0/arms/dpo-base/r2/policy"):
        project.track()


def test_broken_input_is_one_line(project):
    for text in ("stages: [", "schema: '2.0'", "- 1", ""):
        project.file("dvc.lock", text)
        with pytest.raises(DataError, match=r"^dvc.lock: not a lock file[^\n]*$"):
            project.track()
    project.save()
    for summary in ({"policies": {}}, {"profile": "tiny"}, [], {"profile": "tiny", "policies": {"sft": {"kind": "arm"}}}):
        project.file("report/summary.json", json.dumps(summary))
        with pytest.raises(DataError, match=r"^report/summary.json: [^\n]*$"):
            project.track()


def test_broken_store_is_one_line(project):
    (project.folder / "mlflow" / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(OutputError, match=r"^mlflow: the MLflow store cannot be written[^\n]*$"):
        project.track()


def test_every_metric_of_policies_is_one_of_mlflow():
    """One more entry of METRICS is shown without a second one here."""
    assert {f"evaluation/{metric.name}" for metric in METRICS} <= {*SHOWN} and len({*SHOWN}) == len(SHOWN)


def test_a_full_disk_is_one_line(project, caplog):
    """MLflow would log the error of the database with its traceback before it is raised."""
    error = OperationalError("COMMIT", {}, sqlite3.OperationalError("database or disk is full"), code="e3q8")
    with patch.object(Session, "commit", side_effect=error), pytest.raises(OutputError) as told:
        project.track()
    line = r"mlflow: the MLflow store cannot be written \([^\n]*database or disk is full[^\n]*\); make room and run again"
    assert re.fullmatch(line, str(told.value)) and "Background" not in str(told.value)
    assert not [record for record in caplog.records if record.exc_info]


def test_a_moved_store_finds_its_artifacts(tracked):
    """The folder is called as something that SQL takes for a pattern."""
    Path("moved_%").mkdir()
    shutil.move("mlflow", "moved_%/mlflow")
    for name in ("out", "report", "dvc.lock"):
        shutil.move(name, f"moved_%/{name}")
    with contextlib.chdir("moved_%"):
        assert tracked.track().startswith(f"0 new, 0 updated, {len(RUNS)} unchanged")
        client = MlflowClient(databases.make_database(Path("mlflow").absolute()))
        run = runs_of(client)["comparison"]
        assert table_of(client, run, "claims")[0]["name"] == "C3"
        [folder] = {item.artifact_location.split("/mlflow/")[0] for item in models_of(client)}
        assert folder == Path.cwd().as_uri()
        version = client.get_model_version_by_alias("tiny-best", "champion")
        assert client.get_model_version_download_uri("tiny-best", version.version).startswith(folder)


def test_budgets_are_metrics_by_round_and_seconds_change_no_hash(tracked):
    """Counts come with the summary, seconds with times.json; where the comparison knows no budget nothing is read."""
    client = client_of(tracked)
    assert not [key for key in runs_of(client)["dpo-base-s0"].data.metrics if key.startswith("budget/")]
    counts = {"num_samples": 8, "flop": 1.5e9, "shared": {"num_samples": 4, "flop": 1.0e9}}
    seconds = {"cpu_seconds": 2.5, "shared": {"cpu_seconds": 1.5}}
    names = {name: policy["rounds"] for name, policy in tracked.summary["replicates"].items()}
    tracked.summary["budget"] = {name: dict.fromkeys(rounds, counts) for name, rounds in names.items()}
    tracked.file("report/times.json", json.dumps({name: dict.fromkeys(rounds, seconds) for name, rounds in names.items()}))
    tracked.save()
    tracked.track()
    run = runs_of(client)["dpo-base-s0"]
    assert history(client, run, "budget/flop") == [(1, 1.5e9), (2, 1.5e9)]
    assert history(client, run, "budget/cpu_seconds") == [(1, 2.5), (2, 2.5)]
    found = {(row["metric"], row["round"]): row["value"] for row in table_of(client, run, "numbers")}
    assert (found["budget/num_samples", 1], found["budget/shared_flop", 2]) == (8.0, 1.0e9)
    assert history(client, runs_of(client)["golden-s0"], "budget/cpu_seconds") == [(2, 2.5)]

    hashes = {name: run.data.tags["dvc.lock_hash"] for name, run in runs_of(client).items()}
    for number, stage in enumerate(tracked.stages.values()):
        tracked.file(f"out/times/{number}.json", json.dumps(dict.fromkeys(SECONDS, 1.0)))
        stage["outs"].append({"path": f"out/times/{number}.json", "md5": "another in each run"})
    tracked.save()
    tracked.track()
    assert hashes == {name: run.data.tags["dvc.lock_hash"] for name, run in runs_of(client).items()}


REPLICATED = {f"dpo-{kind}-s{seed}": ("dpo", kind, seed) for kind in ("base", "no_adversarial", "adversarial", "oracle") for seed in (0, 1)}
"""Two replicates of four arms; the later ones score higher."""


@pytest.fixture(scope="module")
def replicated(tmp_path_factory, database):
    """A project of REPLICATED that was tracked once; of the means gold is what no replicate has."""
    project = new_project(tmp_path_factory.mktemp("replicated"), database, REPLICATED)
    for number, name in enumerate(project.kinds):
        project.summary["policies"][f"dpo-{name}"]["rounds"]["r2"]["gold"]["value"] = 10.5 + number
    project.save()
    with contextlib.chdir(project.folder):
        assert project.track().endswith("0 removed runs; best dpo-adversarial-s0")
    return project


def data_of(run, context: str = "training") -> dict[str, str]:
    """Name and digest of what a run has read."""
    inputs = run.inputs.dataset_inputs
    return {item.dataset.name: item.dataset.digest for item in inputs if item.tags[0].value == context}


def test_every_replicate_has_its_runs_and_gold_is_no_reward_model(replicated):
    expected = {"base_model", "comparison", "judge-pairs_test", "dpo-base", "dpo-no_adversarial", "dpo-adversarial", "dpo-oracle"}
    for seed in (0, 1):
        expected |= {f"{name}-s{seed}" for name in ("sft", "golden", "best_of_n", "reward-base", "reward-all", "reward-no_adversarial")}
        expected |= {f"reward-first-adversarial-s{seed}-r1", f"reward-dpo-adversarial-s{seed}-r2"}
    assert set(runs_of(client_of(replicated))) == {*expected, *REPLICATED}


def test_the_mean_is_a_run_beside_its_replicates(replicated):
    client = client_of(replicated)
    runs = runs_of(client)
    mean, second = runs["dpo-adversarial"], runs["dpo-adversarial-s1"]
    assert history(client, mean, "evaluation/gold") == [(0, 0.0), (1, 5.0), (2, 12.5)]
    assert history(client, second, "evaluation/gold") == [(0, 0.0), (1, 6.0), (2, 7.0)]
    assert history(client, mean, "reward_model/human_accuracy") == [(1, 0.71), (2, 0.72)]
    tags = [{key: run.data.tags[key] for key in ("kind", "method", "reward_model", "seed")} for run in (mean, second)]
    common = {"method": "dpo", "reward_model": "adversarial"}
    assert tags == [{"kind": "arm", **common, "seed": "0, 1"}, {"kind": "replicate", **common, "seed": "1"}]
    assert mean.data.params["seed"] == "0, 1" and not mean.outputs.model_outputs and len(second.outputs.model_outputs) == 2
    assert runs["sft-s1"].data.tags["seed"] == runs["golden-s1"].data.tags["seed"] == "1"


def test_a_replicate_evaluated_anew_changes_its_run_and_the_mean_alone(replicated):
    client = client_of(replicated)
    before = {name: run.data.tags["dvc.lock_hash"] for name, run in runs_of(client).items()}
    entry = replicated.stages["evaluate@dpo-base-s1-r2"]
    try:
        entry["cmd"] += " --again"
        replicated.save()
        with contextlib.chdir(replicated.folder):
            replicated.track()
        after = {name: run.data.tags["dvc.lock_hash"] for name, run in runs_of(client).items()}
    finally:
        entry["cmd"] = entry["cmd"].removesuffix(" --again")
        replicated.save()
        with contextlib.chdir(replicated.folder):
            replicated.track()
    assert {name for name in before if before[name] != after[name]} == {"dpo-base-s1", "dpo-base", "comparison"}


def test_reward_models_have_read_the_labels_of_their_replicate(replicated):
    runs = runs_of(client_of(replicated))

    def digests(seed, *names):
        return {name: hashlib.md5((replicated.folder / f"out/labels/s{seed}/{name}.jsonl").read_bytes()).hexdigest() for name in names}

    assert data_of(runs["reward-base-s1"]) == digests(1, "pairs_rm") != digests(0, "pairs_rm")
    assert data_of(runs["reward-no_adversarial-s1"]) == digests(1, "pairs_rm", "pairs_further")
    assert data_of(runs["reward-all-s0"]) == digests(0, "pairs_rm", "pairs_lm")
    assert set(data_of(runs["dpo-no_adversarial-s0"])) == {"pairs_rm", "pairs_further", "prompts_lm"}
    assert digests(1, "pairs_rm").items() <= data_of(runs["dpo-adversarial-s1"]).items()


def test_an_arm_that_learns_from_gold_has_read_no_pairs_and_is_never_the_best(replicated):
    """It scores highest here; what people want is a policy that a reward model can make."""
    client = client_of(replicated)
    run = runs_of(client)["dpo-oracle-s1"]
    assert set(data_of(run)) == {"prompts_lm"} and "reward_model/human_accuracy" not in run.data.metrics
    assert best_of(replicated)[0] == "dpo-adversarial-s0-r2"


def test_the_best_is_the_best_mean_whatever_a_single_replicate_has(replicated):
    """The base arm's second replicate is the best of all, its mean the worst."""
    policies = [replicated.summary["replicates"]["dpo-base-s1"]["rounds"]["r2"]["gold"]]
    was = policies[0]["value"]
    try:
        policies[0]["value"] = 99.0
        replicated.save()
        with contextlib.chdir(replicated.folder):
            assert replicated.track().endswith("best dpo-adversarial-s0")
    finally:
        policies[0]["value"] = was
        replicated.save()
        with contextlib.chdir(replicated.folder):
            replicated.track()
