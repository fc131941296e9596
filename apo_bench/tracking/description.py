"""The runs that MLflow has to show, described from dvc.lock, out/ and report/summary.json. Reads files, knows nothing of MLflow.

Which stage made an output is looked up in dvc.lock by the output's path, so the names of stages do not matter here.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from apo_bench.comparison.summary import Estimated, GameSummary, Judgement, JudgeSummary, PolicySummary, read_summary
from apo_bench.config.plugins import PLAYER, reward_model_class
from apo_bench.core import layout
from apo_bench.core.errors import MissingInputError
from apo_bench.core.files import read_json
from apo_bench.core.layout import (
    BASE,
    BASE_AFTER_GOLDEN,
    FIRST_ROUND,
    GOLDEN,
    SFT,
    START_ROUND,
    TEST_REWARD_MODEL,
    Arm,
    Reference,
    round_number,
)
from apo_bench.core.results import read_metrics
from apo_bench.provenance.lock import Lock, flat_params, sha256
from apo_bench.tracking.colors import COLOR, OTHER_COLOR, REFERENCE_COLORS, arm_color
from apo_bench.tracking.game import game_measures, game_tags, shift_measures
from apo_bench.tracking.measures import (
    claim_rows,
    curves,
    difference_rows,
    evaluation_measures,
    is_trained,
    judge_measures,
    measures_of,
    training_measures,
)
from apo_bench.tracking.notes import COMPARISON_NOTE, NOTE, arm_note, reference_note, reward_note
from apo_bench.tracking.runs import DataFile, Measure, Model, Run, Tracked

IDENTITY: tuple[str, ...] = ("method", "reward_model", "seed")
"""Tags that are params too."""
OWN_PARAMS = {
    "base_model": ("base_model",),
    "sft": ("sft",),
    "reference": ("method",),
    "reward_model": ("reward",),
    "replicate": ("method", "reward", "sampling.train"),
    "arm": ("method", "reward", "sampling.train"),
    "judge": ("judge",),
}
"""Groups of params that tell a run from others of its kind; all others stand in its params.json."""
DATA_KINDS = {"demonstrations": "responses", "pretraining": "responses", "golden": "responses", "pairs": "pairs", "prompts": "prompts"}


def describe(lock: Lock, data: Path, labels: Path, models: Path, results: Path, report: Path) -> Tracked:
    """Describes all runs that the outputs amount to; arms, rounds and references are those of REPORT/summary.json.

    Raises:
        MissingInputError: an output, or its entry in dvc.lock, is not there.
        DataError: an output is broken.
    """
    return _Describer(lock, data, labels, models, results, report).all_runs()


class _Describer:
    def __init__(self, lock: Lock, data: Path, labels: Path, models: Path, results: Path, report: Path) -> None:
        self.lock, self.data, self.labels, self.models, self.results, self.report = lock, data, labels, models, results, report
        self.summary = read_summary(report / layout.SUMMARY)
        policies, replicates = self.summary["policies"], self.summary["replicates"]
        self.groups = {name: policy for name, policy in policies.items() if policy["kind"] == "arm"}
        self.references = {name: policy for name, policy in replicates.items() if policy["kind"] == "reference"}
        of_arms = (policy for policy in replicates.values() if policy["kind"] == "arm")
        self.arms = {Arm(policy["method"], policy["reward_model"], policy["seed"]): policy for policy in of_arms}
        self.rounds = list(next(iter(self.arms.values()))["rounds"])
        self.seeds = list(dict.fromkeys(arm.seed for arm in self.arms))
        self.kinds = self.summary["run"]
        others, found = {*self.kinds["fixed_reward_models"], TEST_REWARD_MODEL}, self.summary["reward_models"]
        self.own_rewards = [name for name in found if name not in others and FIRST_ROUND not in found[name]]  # an arm's have rounds
        self.judged = self.summary.get("judge", JudgeSummary(judge="", arms={}, human={}))
        self.game = self.summary.get("game", GameSummary(arms={}, frontier={}))
        self.seconds = read_json(report / layout.SECONDS) if "budget" in self.summary else {}
        self.data_md5: dict[Path, str] = {}

    def all_runs(self) -> Tracked:
        fixed = [(name, seed) for name in reversed((*self.kinds["fixed_reward_models"], TEST_REWARD_MODEL)) for seed in self.seeds]
        own = [self._own_reward(name) for name in self.own_rewards]
        rewards = [*self._retrained_rewards(), *own, *(self._fixed_reward(*which) for which in fixed)]
        sft = [self._sft(seed) for seed in self.seeds]
        others = [
            self._reference(name, policy["seed"])
            for name, policy in reversed(self.references.items())
            if name != Reference(SFT, policy["seed"]).name
        ]
        replicates = [self._arm(arm, policy) for arm, policy in reversed(self.arms.items())]
        means = [self._mean(name, policy, replicates) for name, policy in reversed(self.groups.items())]
        judges = [self._judge(name, numbers) for name, numbers in self.judged["human"].items()]
        runs = [self._base_model(), *rewards, self._comparison(), *judges, *others, *sft, *replicates, *means]
        last = self.rounds[-1]
        best_by: Literal["gold", "reward_all"] = "gold" if "gold" in self._start(self.seeds[0]) else "reward_all"
        trained = [name for name, policy in self.groups.items() if policy["reward_model"] not in self.kinds["gold_reward_models"]]
        group = max(trained, key=lambda name: self.groups[name]["rounds"][last][best_by]["value"])
        best = next(arm.name for arm in self.arms if arm.group == group)
        tests = {TEST_REWARD_MODEL, *self.own_rewards} - {*self.kinds["own_reward_models"]}
        best_reward = max((run for run in rewards if run.tags["reward_model"] not in tests), key=_human_accuracy)
        return Tracked(self.summary["profile"], runs, (best, f"{best}-{last}"), (best_reward.name, best_reward.models[0].name), best_by)

    def _run(self, name: str, tags: dict[str, Any], paths: Sequence[Path], params: dict[str, str] | None = None, **parts: Any) -> Run:
        """A run made of the stages that made `paths`; their hash and, if not given, their params and seconds are read off dvc.lock."""
        entries = self.lock.stages_of(paths)
        stages = ", ".join(dict.fromkeys(stage.split("@")[0] for stage in entries))
        given = {key: str(value) for key, value in tags.items()}
        common = {"profile": self.summary["profile"], "stage": stages, "dvc.lock_hash": sha256(entries), "mlflow.source.name": "dvc repro"}
        own: dict[str, str] = {key: given[key] for key in IDENTITY if key in given}
        params, groups = params or flat_params(entries), tuple(f"{group}." for group in OWN_PARAMS.get(given["kind"], ()))
        own |= {key: value for key, value in params.items() if key.startswith(groups)} if groups else {}
        seconds = parts.pop("seconds", None)
        return Run(name, common | given, own, params, self.lock.seconds(paths) if seconds is None else seconds, **parts)

    def _base_model(self) -> Run:
        paths = [layout.base_model(self.models), layout.base_model(self.results)]
        data = [self._file("pretraining")] if is_trained(paths[1]) else []
        note = "The language model that everything starts from."
        tags = {"kind": "base_model", NOTE: note}
        model = [self._model("base_model", "policy", paths[0], 0, note)]
        measures = training_measures(paths[1])
        return self._run("base_model", tags, paths, measures=measures, curves=curves(paths[1]), models=model, data=data)

    def _sft(self, seed: int) -> Run:
        sft = Reference(SFT, seed)
        name, model, training = sft.name, sft.trained(self.models), sft.training(self.results)
        paths = [model, training, sft.evaluation(self.results)]
        measures = training_measures(training) + evaluation_measures(self._start(seed), 0, name) + self._budget(name, START_ROUND, 0)
        demonstrations = [self._file("demonstrations")] if is_trained(training) else []
        data = [*demonstrations, self._file("prompts_test", "evaluation")]
        note = reference_note(SFT, self._start(seed))
        tags = {"kind": "sft", "seed": seed, COLOR: REFERENCE_COLORS[SFT], NOTE: note}
        models = [self._model(name, "policy", model, 0, note)]
        return self._run(name, tags, paths, measures=measures, curves=curves(training), models=models, data=data)

    def _reference(self, name: str, seed: int) -> Run:
        kind = name.removesuffix(f"-s{seed}")
        reference, step = Reference(kind, seed), round_number(self.rounds[-1])
        model, training, evaluation = reference.policy(self.models), reference.training(self.results), reference.evaluation(self.results)
        estimates = self.references[name]["rounds"][START_ROUND]
        note = reference_note(kind, estimates, reference.is_own)
        tags = {"kind": "reference", "method": kind, "seed": seed, COLOR: REFERENCE_COLORS.get(kind, OTHER_COLOR), NOTE: note}
        data = [self._file("prompts_test", "evaluation")]
        if not model:
            return self._run(name, tags, [evaluation], measures=evaluation_measures(estimates, step), data=data)
        if reference.is_own:
            measures = evaluation_measures(estimates, step, name)
            models = [self._model(name, "policy", model, step, note)]
            return self._run(name, tags, [model, evaluation], measures=measures, models=models, data=data)
        measures = training_measures(training) + evaluation_measures(estimates, step, name) + self._budget(name, START_ROUND, step)
        models, paths = [self._model(name, "policy", model, step, note)], [model, training, evaluation]
        data = [self._file("golden_rm") if kind == GOLDEN else self._file("pairs_rm", seed=seed), *data]
        return self._run(name, tags, paths, measures=measures, curves=curves(training), models=models, data=data)

    def _fixed_reward(self, name: str, seed: int) -> Run:
        paths = [layout.reward_model(root, name, seed) for root in self._reward_roots]
        return self._reward(f"reward-{name}-s{seed}", {"reward_model": name, "seed": seed}, paths, 0)

    def _own_reward(self, name: str) -> Run:
        model, _, evaluation = (layout.own_reward_model(root, name) for root in self._reward_roots)
        return self._reward(f"reward-{name}", {"reward_model": name}, [model, evaluation], 0)

    def _retrained_rewards(self) -> Iterator[Run]:
        """Those of later rounds, then those of the first round, which arms share."""
        retrained = [arm for arm in self.arms if arm.reward_model in self.kinds["retrained_reward_models"]]
        for arm in retrained:
            for round_id in self.rounds:
                if round_id != FIRST_ROUND:
                    paths = self._reward_paths(arm, round_id)
                    yield self._reward(f"reward-{arm.name}-{round_id}", _arm_tags(arm), paths, round_number(round_id))
        for arm in {(arm.reward_model, arm.seed): arm for arm in retrained}.values():
            tags = {"reward_model": arm.reward_model, "seed": arm.seed}
            name = f"reward-first-{arm.reward_model}-s{arm.seed}-{FIRST_ROUND}"
            yield self._reward(name, tags, self._reward_paths(arm, FIRST_ROUND), round_number(FIRST_ROUND))

    def _reward(self, name: str, tags: dict[str, Any], paths: list[Path], step: int) -> Run:
        """Of a reward model: `paths` are its own, that of its training unless it comes from elsewhere, and that of its evaluation."""
        model, *trainings, evaluation = paths
        metrics = read_metrics(evaluation)
        note = reward_note(tags["reward_model"], metrics)
        trained = [measure for training in trainings for measure in training_measures(training, step)]
        data = [*self._reward_files(tags["reward_model"], tags.get("seed"), model), self._file("pairs_test", "evaluation")]
        return self._run(
            name,
            {"kind": "reward_model", **tags, NOTE: note},
            paths,
            measures=trained + measures_of("reward_model", metrics, step, name, is_test=True),
            curves=curves(*trainings),
            models=[self._model(name, "reward_model", model, step, note)],
            data=data,
        )

    def _reward_files(self, kind: str, seed: int | None, model: Path) -> list[DataFile]:
        """What a reward model was trained on: an ablation without one of the game's terms has not read what that is about, one of one's own
        nothing of the run."""
        if kind in self.own_rewards:
            return []
        if kind in (BASE, BASE_AFTER_GOLDEN, TEST_REWARD_MODEL):
            return [self._file(name, seed=seed) for name in ("pairs_rm", *(["pairs_lm"] if kind == TEST_REWARD_MODEL else []))]
        sections = flat_params(self.lock.stages_of([model]))
        sources = reward_model_class(sections.get(f"reward.{PLAYER}", kind), f"reward.{kind}").trains_on
        labelled = [name for source, name in (("human", "pairs_rm"), ("further", "pairs_further")) if source in sources]
        return [*(self._file(name, seed=seed) for name in labelled), *([self._file("golden_rm")] if "golden" in sources else [])]

    def _mean(self, name: str, policy: PolicySummary, replicates: list[Run]) -> Run:
        """The mean over the replicates of an arm: what arms are compared by."""
        arms = [arm for arm in self.arms if arm.group == name]
        measures = evaluation_measures(self.summary["policies"][SFT]["rounds"][START_ROUND], 0)
        for round_id, estimates in policy["rounds"].items():
            step = round_number(round_id)
            measures += evaluation_measures(estimates, step)
            measures += measures_of("reward_model", self.summary["reward_models"][name][round_id], step)
        paths = [arm.evaluation(self.results, round_id) for arm in arms for round_id in self.rounds]
        seeds = ", ".join(str(arm.seed) for arm in arms)
        last = self.rounds[-1]
        note = arm_note(arms[0].method, arms[0].reward_model, f"mean over the seeds {seeds}", policy["rounds"][last], last)
        tags = {"kind": "arm", **_arm_tags(arms[0]), "seed": seeds, COLOR: arm_color(arms[0], self.arms), NOTE: note}
        own = [run for run in replicates if run.name in {arm.name for arm in arms}]
        seconds, data = sum(run.seconds for run in own) / len(own), [self._file("prompts_test", "evaluation")]
        return self._run(name, tags, paths, own[0].all_params, measures=measures, seconds=seconds, data=data)

    def _arm(self, arm: Arm, policy: PolicySummary) -> Run:
        name = arm.name
        paths = [Reference(SFT, arm.seed).evaluation(self.results)]
        measures, models, note = evaluation_measures(self._start(arm.seed), 0), [], ""
        trainings: list[Path] = []
        for round_id in self.rounds:
            step, score, aligned = round_number(round_id), arm.score(self.results, round_id), arm.training(self.results, round_id)
            trained = arm.policy(self.models, round_id)
            paths += [*self._reward_paths(arm, round_id), score, trained, aligned, arm.evaluation(self.results, round_id)]
            estimates, trainings = policy["rounds"][round_id], [*trainings, aligned]
            note = arm_note(arm.method, arm.reward_model, f"seed {arm.seed}", estimates, round_id)
            models.append(self._model(f"{name}-{round_id}", "policy", trained, step, note))
            measures += evaluation_measures(estimates, step, models[-1].name)
            measures += self._budget(name, round_id, step)
            measures += measures_of("reward_model", self.summary["reward_models"][name][round_id], step)
            measures += measures_of("samples", {key: value for key, value in read_metrics(score).items() if key.startswith("mean_")}, step)
            measures += measures_of("training", read_metrics(aligned), step)
        verdicts: dict[str, dict[str, str]] = {}
        judged = ""
        for opponent, arms in self.judged["arms"].items():
            for round_id, numbers in arms.get(name, {}).items():
                folder = arm.judgement(self.results, round_id, opponent)
                group = "judge" if opponent == SFT else f"judge_versus_{opponent}"
                measures += judge_measures(group, numbers, round_number(round_id), f"{name}-{round_id}")
                verdicts.setdefault(f"{group}_verdicts", {}).update(_verdicts(folder))
                judged = " ".join(numbers["findings"]) if opponent == SFT else judged
                paths.append(folder)
        played = self.game["arms"].get(name)
        if played:
            paths.append(arm.game(self.results))
            measures += game_measures(played, self.game["frontier"].get(name, {}), self.rounds[-1])
            measures += shift_measures(played, self.rounds[-1])
        paths_of_reward = self._reward_paths(arm, self.rounds[-1])
        reward_files = self._reward_files(arm.reward_model, arm.seed, paths_of_reward[0]) if paths_of_reward else []
        golden = [self._file("golden_rm")] if arm.reward_model == BASE_AFTER_GOLDEN else []
        data = [self._file("prompts_lm"), *golden, *reward_files, self._file("prompts_test", "evaluation")]
        tags = {"kind": "replicate", **_arm_tags(arm), COLOR: arm_color(arm, self.arms), NOTE: note}
        tags |= ({"judge.findings": judged} if judged else {}) | (game_tags(played) if played else {})
        return self._run(name, tags, paths, measures=measures, curves=curves(*trainings), models=models, data=data, verdicts=verdicts)

    def _budget(self, policy: str, round_id: str, step: int) -> list[Measure]:
        """What a policy took up to a round, and the part of it that others share."""
        measures = []
        for numbers in (found[policy][round_id] for found in (self.summary.get("budget"), self.seconds) if found):
            measures += measures_of("budget", {**numbers}, step)
            measures += measures_of("budget", {f"shared_{key}": value for key, value in numbers["shared"].items()}, step)
        return measures

    def _judge(self, name: str, numbers: Judgement) -> Run:
        """The test of the judge on a file of human pairs."""
        folder = layout.judge_test(self.results, name)
        measures = [measure for measure in judge_measures("judge", numbers, 0, None) if "win_rate" not in measure.key]
        findings = " ".join(numbers["findings"])
        note = f"What the judge makes of human pairs that it did not see. {findings}"
        tags = {"kind": "judge", "judge": self.judged["judge"], "judge.findings": findings, NOTE: note}
        data, verdicts = [self._file(name, "evaluation")], {"judge_verdicts": _verdicts(folder)}
        return self._run(f"judge-{name}", tags, [folder], measures=measures, data=data, verdicts=verdicts)

    def _comparison(self) -> Run:
        """The report, the verdicts on claims, and the differences between arms with a retrained and with the fixed reward model."""
        found = self.summary["claims"]
        tags, tables = {"kind": "comparison", NOTE: COMPARISON_NOTE}, {"differences": difference_rows(self.summary["differences"])}
        for outcome, claims in found["families"].items():
            group = "claims" if outcome == found["primary"] else f"claims_by_{outcome.replace(' ', '_')}"
            tables[group] = claim_rows(claims)
            for name, claim in claims.items():
                tags[f"{group.replace('claims', 'claim')}.{name}"] = claim["verdict"]
        tables |= {f"own_policies_by_{outcome.replace(' ', '_')}": claim_rows(claims) for outcome, claims in found.get("own", {}).items()}
        names = [name for name in (layout.PAGE, layout.TABLE, layout.SUMMARY) if (self.report / name).is_file()]
        files = {(self.report / name).as_posix(): _md5(self.report / name) for name in names}
        paths = [self.data, *(arm.evaluation(self.results, round_id) for arm in self.arms for round_id in self.rounds)]
        return self._run("comparison", tags, paths, artifacts=files, tables=tables)

    def _start(self, seed: int) -> dict[str, Estimated]:
        return self.references[Reference(SFT, seed).name]["rounds"][START_ROUND]

    def _reward_paths(self, arm: Arm, round_id: str) -> list[Path]:
        """The reward model that an arm's policy is trained by in a round, its training unless it comes from elsewhere, and its evaluation;
        none if that is gold."""
        own = self.kinds["own_reward_models"]
        if arm.reward_model in self.kinds["gold_reward_models"]:
            return []
        roots = [root for root in self._reward_roots if root != self.results or arm.reward_model not in own]
        return [arm.reward(root, round_id, own) for root in roots]

    @property
    def _reward_roots(self) -> tuple[Path, Path, Path]:
        return self.models, self.results, layout.reward_evaluations(self.results)

    def _model(self, name: str, kind: str, path: Path, step: int, note: str) -> Model:
        return Model(name, kind, path.as_posix(), self.lock.md5(path), step, note)

    def _file(self, name: str, context: str = "training", seed: int | None = None) -> DataFile:
        """A file of the records or, with a seed, of the labels of that replicate."""
        path = layout.records(self.data if seed is None else layout.replicate(self.labels, seed), name)
        if path not in self.data_md5:
            self.data_md5[path] = _md5(path)
        return DataFile(name, path.as_posix(), DATA_KINDS[name.split("_")[0]], self.data_md5[path], context)


def _human_accuracy(run: Run) -> float:
    return next(measure.value for measure in run.measures if measure.key == "reward_model/human_accuracy")


def _arm_tags(arm: Arm) -> dict[str, Any]:
    return asdict(arm)


def _verdicts(folder: Path) -> dict[str, str]:
    file = folder / "verdicts.jsonl"
    return {file.as_posix(): _md5(file)}


def _md5(path: Path) -> str:
    try:
        return hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest()
    except FileNotFoundError as error:
        raise MissingInputError(f"{path}: no such file; run the stage that writes it (dvc repro) first") from error
