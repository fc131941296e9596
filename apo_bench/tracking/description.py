"""The runs that MLflow has to show, described from dvc.lock, out/ and report/summary.json. Reads files, knows nothing of MLflow.

Which stage made an output is looked up in dvc.lock by the output's path, so the names of stages do not matter here.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.core.files import read_json
from apo_bench.core.results import read_curves, read_metrics
from apo_bench.core.sections import FIRST_ROUND
from apo_bench.tracking.game import game_measures, game_tags, shift_measures
from apo_bench.tracking.lock import Lock, flat_params, sha256

FIXED_REWARD_MODEL = "base"
PAIRED_COLORS = ("#1f77b4", "#aec7e8", "#d62728", "#ff9896", "#2ca02c", "#98df8a", "#9467bd", "#c5b0d5", "#ff7f0e", "#ffbb78")
"""Two by two, a strong and a light shade (matplotlib's tab20): an arm with a retrained reward model, and with the fixed one."""
REFERENCE_COLORS = {"sft": "#7f7f7f", "golden": "#bcbd22", "human": "#8c564b"}
DATA_KINDS = {"demonstrations": "responses", "pretraining": "responses", "golden": "responses", "pairs": "pairs", "prompts": "prompts"}


@dataclass(frozen=True)
class Measure:
    """One value of a metric."""

    key: str
    value: float
    step: int
    """A round (0: the SFT start), or a training step where the key names a curve."""
    model: str | None = None
    """The model of the run that it was measured on, by name."""
    is_test: bool = False
    """Measured on the test prompts."""


@dataclass(frozen=True)
class Model:
    """A trained model where DVC has it."""

    name: str
    kind: str
    path: str
    md5: str
    round: int


@dataclass(frozen=True)
class DataFile:
    """A file of records that a run read."""

    name: str
    path: str
    kind: str
    md5: str
    """As DVC counts it: of the file's bytes."""
    context: str
    """`training` or `evaluation`."""


@dataclass(frozen=True)
class Run:
    """A run of MLflow."""

    name: str
    tags: dict[str, str]
    params: dict[str, str]
    measures: list[Measure] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    data: list[DataFile] = field(default_factory=list)
    artifacts: dict[str, str] = field(default_factory=dict)
    """Path of a file -> its md5."""
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Name -> rows that MLflow shows as a table."""
    verdicts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Tables of a judge's verdicts: name -> path of a file of rows -> its md5."""

    @property
    def fingerprint(self) -> str:
        """Changes with anything that MLflow shows of the run."""
        return sha256(asdict(self))


@dataclass(frozen=True)
class Tracked:
    """All runs of a profile, and which model is the best."""

    profile: str
    runs: list[Run]
    """In the order in which they are made: MLflow lists the last one first."""
    best: tuple[str, str]
    """Run and model of the arm with the highest value of `best_by` after the last round."""
    best_by: Literal["gold", "reward_all"]
    """The true reward, where it is known: an over-optimised arm may have the highest RM_all. Else RM_all."""


def describe(lock: Lock, data: Path, models: Path, results: Path, report: Path) -> Tracked:
    """Describes all runs that the outputs amount to; arms, rounds and references are those of REPORT/summary.json.

    Raises:
        MissingInputError: an output, or its entry in dvc.lock, is not there.
        DataError: an output is broken.
    """
    try:
        return _Describer(lock, data, models, results, report).all_runs()
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{report / 'summary.json'}: not as the stage compare writes it ({error!r}); run it (dvc repro) again") from error


class _Describer:
    def __init__(self, lock: Lock, data: Path, models: Path, results: Path, report: Path) -> None:
        self.lock, self.data, self.models, self.results, self.report = lock, data, models, results, report
        self.summary = read_json(report / "summary.json")
        policies = self.summary["policies"]
        self.arms = {name: policy for name, policy in policies.items() if policy["kind"] == "arm"}
        self.references = {name: policy for name, policy in policies.items() if policy["kind"] == "reference"}
        if not self.arms:
            raise DataError(f"{report / 'summary.json'}: no arms; run dvc repro")
        self.rounds = list(next(iter(self.arms.values()))["rounds"])
        self.judged = self.summary.get("judge", {"arms": {}, "human": {}})
        self.game = self.summary.get("game", {"arms": {}, "frontier": {}})
        self.seconds = read_json(report / "times.json") if "budget" in self.summary else {}
        self.data_md5: dict[str, str] = {}

    def all_runs(self) -> Tracked:
        rewards = [*self._retrained_rewards(), *map(self._fixed_reward, ("all", FIXED_REWARD_MODEL))]
        others = [self._reference(name) for name in reversed(self.references) if name != "sft"]
        arms = [self._arm(name, arm) for name, arm in reversed(self.arms.items())]
        judges = [self._judge(name, numbers) for name, numbers in self.judged["human"].items()]
        runs = [self._base_model(), *rewards, self._comparison(), *judges, *others, self._sft(), *arms]
        last = self.rounds[-1]
        best_by: Literal["gold", "reward_all"] = "gold" if "gold" in self._start() else "reward_all"
        best = max(self.arms, key=lambda name: self.arms[name]["rounds"][last][best_by]["value"])
        return Tracked(self.summary["profile"], runs, (best, f"{best}-{last}"), best_by)

    def _run(self, name: str, tags: dict[str, Any], paths: Iterable[Path], **parts: Any) -> Run:
        """A run made of the stages that made `paths`; their params and their hash are read off dvc.lock."""
        entries = self.lock.stages_of(paths)
        stages = ", ".join(dict.fromkeys(stage.split("@")[0] for stage in entries))
        given = {key: str(value) for key, value in tags.items()}
        common = {"profile": self.summary["profile"], "stage": stages, "dvc.lock_hash": sha256(entries), "mlflow.source.name": "dvc repro"}
        own = {key: given[key] for key in ("method", "reward_model", "seed") if key in given}
        return Run(name, common | given, own | flat_params(entries), **parts)

    def _base_model(self) -> Run:
        paths = [self.models / "base_model", self.results / "base_model"]
        data = [self._file("pretraining")] if _is_trained(paths[1]) else []
        model = [self._model("base_model", "policy", paths[0], 0)]
        return self._run("base_model", {"kind": "base_model"}, paths, measures=_training(paths[1]), models=model, data=data)

    def _sft(self) -> Run:
        paths = [self.models / "sft", self.results / "sft", self.results / "references" / "sft" / "evaluation"]
        measures = _training(paths[1]) + _evaluation(self._start(), 0, "sft") + self._budget("sft", "r0", 0)
        demonstrations = [self._file("demonstrations")] if _is_trained(paths[1]) else []
        data = [*demonstrations, self._file("prompts_test", "evaluation")]
        tags = {"kind": "sft", "mlflow.runColor": REFERENCE_COLORS["sft"]}
        return self._run("sft", tags, paths, measures=measures, models=[self._model("sft", "policy", paths[0], 0)], data=data)

    def _reference(self, name: str) -> Run:
        folder = self.results / "references" / name
        paths = [self.models / "references" / name, folder / "training", folder / "evaluation"]
        policy = self.references[name]["rounds"]
        step = _number(self.rounds[-1])
        measures = _training(paths[1]) + _evaluation(policy[list(policy)[-1]], step, name) + self._budget(name, list(policy)[-1], step)
        data = [self._file("golden_rm" if name == "golden" else "pairs_rm"), self._file("prompts_test", "evaluation")]
        tags = {"kind": "reference", "method": name, "mlflow.runColor": REFERENCE_COLORS.get(name, "#17becf")}
        return self._run(name, tags, paths, measures=measures, models=[self._model(name, "policy", paths[0], step)], data=data)

    def _fixed_reward(self, name: str) -> Run:
        return self._reward(f"reward-{name}", {"reward_model": name}, self.models / "reward" / name, self.results / "reward" / name, 0)

    def _retrained_rewards(self) -> Iterator[Run]:
        """Those of later rounds, then those of the first round, which arms share."""
        retrained = [(name, arm) for name, arm in self.arms.items() if arm["reward_model"] != FIXED_REWARD_MODEL]
        for name, arm in retrained:
            for round_id in self.rounds:
                if round_id != FIRST_ROUND:
                    model, results = self._reward_paths(name, arm, round_id)
                    yield self._reward(f"reward-{name}-{round_id}", _arm_tags(arm), model, results, _number(round_id))
        for kind, seed in dict.fromkeys((arm["reward_model"], arm["seed"]) for _, arm in retrained):
            tags = {"reward_model": kind, "seed": seed}
            model, results = self._reward_paths("", tags, FIRST_ROUND)
            yield self._reward(f"reward-first-{kind}-s{seed}-{FIRST_ROUND}", tags, model, results, _number(FIRST_ROUND))

    def _reward(self, name: str, tags: dict[str, Any], model: Path, results: Path, step: int) -> Run:
        files = {"all": ["pairs_rm", "pairs_lm"], FIXED_REWARD_MODEL: ["pairs_rm"]}.get(tags["reward_model"], ["pairs_rm", "golden_rm"])
        return self._run(
            name,
            {"kind": "reward_model", **tags},
            [model, results],
            measures=_training(results, step, name),
            models=[self._model(name, "reward_model", model, step)],
            data=[*map(self._file, files), self._file("pairs_test", "evaluation")],
        )

    def _arm(self, name: str, arm: dict[str, Any]) -> Run:
        paths = [self.results / "references" / "sft" / "evaluation"]
        measures, models = _evaluation(self._start(), 0), []
        for round_id in self.rounds:
            step, folder = _number(round_id), self.results / "arms" / name / round_id
            policy = self.models / "arms" / name / round_id / "policy"
            first = round_id == FIRST_ROUND
            score = self.results / "first" / f"s{arm['seed']}" / "score" / arm["reward_model"] if first else folder / "score"
            paths += [*self._reward_paths(name, arm, round_id), score, policy, folder / "align", folder / "evaluation"]
            models.append(self._model(f"{name}-{round_id}", "policy", policy, step))
            measures += _evaluation(arm["rounds"][round_id], step, models[-1].name)
            measures += self._budget(name, round_id, step)
            measures += _measures("reward_model", self.summary["reward_models"][name][round_id], step)
            measures += _measures("samples", {key: value for key, value in read_metrics(score).items() if key.startswith("mean_")}, step)
            measures += _measures("training", read_metrics(folder / "align"), step) + _curves(f"training/{round_id}", folder / "align")
        verdicts: dict[str, dict[str, str]] = {}
        judged = ""
        for opponent, arms in self.judged["arms"].items():
            for round_id, numbers in arms.get(name, {}).items():
                folder = self.results / "arms" / name / round_id / "judge" / opponent
                group = "judge" if opponent == "sft" else f"judge_versus_{opponent}"
                measures += _judgement(group, numbers, _number(round_id), f"{name}-{round_id}")
                verdicts.setdefault(f"{group}_verdicts", {}).update(_verdicts(folder))
                judged = " ".join(numbers["findings"]) if opponent == "sft" else judged
                paths.append(folder)
        played = self.game["arms"].get(name)
        if played:
            paths.append(self.results / "game" / name)
            for group, values, round_id in game_measures(played, self.game["frontier"].get(name, {}), self.rounds[-1]):
                measures += _measures(group, values, _number(round_id), is_test=True)
            for group, values, round_id in shift_measures(played, self.rounds[-1]):
                measures += _measures(group, values, _number(round_id))
        retrained = [] if arm["reward_model"] == FIXED_REWARD_MODEL else ["golden_rm"]
        data = [*map(self._file, ("prompts_lm", "pairs_rm", *retrained)), self._file("prompts_test", "evaluation")]
        tags = {"kind": "arm", **_arm_tags(arm), "mlflow.runColor": self._color(arm)} | ({"judge.findings": judged} if judged else {})
        tags |= game_tags(played) if played else {}
        return self._run(name, tags, paths, measures=measures, models=models, data=data, verdicts=verdicts)

    def _budget(self, policy: str, round_id: str, step: int) -> list[Measure]:
        """What a policy took up to a round, and the part of it that others share."""
        measures = []
        for numbers in (found[policy][round_id] for found in (self.summary.get("budget"), self.seconds) if found):
            measures += _measures("budget", numbers, step)
            measures += _measures("budget", {f"shared_{key}": value for key, value in numbers["shared"].items()}, step)
        return measures

    def _judge(self, name: str, numbers: dict[str, Any]) -> Run:
        """The test of the judge on a file of human pairs."""
        folder = self.results / "judge" / name
        measures = [measure for measure in _judgement("judge", numbers, 0, None) if "win_rate" not in measure.key]
        tags = {"kind": "judge", "judge": self.judged["judge"], "judge.findings": " ".join(numbers["findings"])}
        data, verdicts = [self._file(name, "evaluation")], {"judge_verdicts": _verdicts(folder)}
        return self._run(f"judge-{name}", tags, [folder], measures=measures, data=data, verdicts=verdicts)

    def _comparison(self) -> Run:
        """The report, the verdicts on claims, and the differences between arms with a retrained and with the fixed reward model."""
        rows = [
            {"arm": name, "round": round_id, "metric": metric, "value": estimate["value"], "low": estimate["low"], **estimate}
            for name, difference in self.summary["differences"].items()
            for round_id, metrics in difference["rounds"].items()
            for metric, estimate in metrics.items()
        ]
        measures = []
        for row in rows:
            values = {row["metric"]: row["value"], f"{row['metric']}_low": row["low"], f"{row['metric']}_high": row["high"]}
            measures += _measures(f"versus_base/{row['arm']}", values, _number(row["round"]))
        claims = self.summary["claims"]["claims"]
        for name, claim in claims.items():
            for number, contrast in enumerate(claim["contrasts"], start=1):
                values = {f"{name}_{number}{key}": contrast[end] for key, end in (("", "value"), ("_low", "low"), ("_high", "high"))}
                measures += _measures("claims", values, _number(self.rounds[-1]))
        names = [name for name in ("index.html", "table.md", "summary.json") if (self.report / name).is_file()]
        files = {(self.report / name).as_posix(): _md5(self.report / name) for name in names}
        paths = [self.data, *(self.results / "arms" / arm / round_id / "evaluation" for arm in self.arms for round_id in self.rounds)]
        tags = {"kind": "comparison"} | {f"claim.{name}": claim["verdict"] for name, claim in claims.items()}
        return self._run(
            "comparison", tags, paths, measures=measures, artifacts=files, tables={"differences": rows, "claims": _claim_rows(claims)}
        )

    def _start(self) -> dict[str, Any]:
        return self.references["sft"]["rounds"]["r0"]

    def _reward_paths(self, name: str, arm: dict[str, Any], round_id: str) -> list[Path]:
        """Model and results of the reward model that an arm's policy is trained by in a round."""
        kind, seed = arm["reward_model"], f"s{arm['seed']}"
        if kind == FIXED_REWARD_MODEL:
            return [folder / "reward" / kind for folder in (self.models, self.results)]
        if round_id == FIRST_ROUND:
            return [folder / "first" / seed / "reward" / kind for folder in (self.models, self.results)]
        return [folder / "arms" / name / round_id / "reward" for folder in (self.models, self.results)]

    def _model(self, name: str, kind: str, path: Path, step: int) -> Model:
        return Model(name, kind, path.as_posix(), self.lock.md5(path), step)

    def _file(self, name: str, context: str = "training") -> DataFile:
        path = self.data / f"{name}.jsonl"
        if name not in self.data_md5:
            self.data_md5[name] = _md5(path)
        return DataFile(name, path.as_posix(), DATA_KINDS[name.split("_")[0]], self.data_md5[name], context)

    def _color(self, arm: dict[str, Any]) -> str:
        methods = list(dict.fromkeys(other["method"] for other in self.arms.values()))
        shade = 2 * methods.index(arm["method"]) + (arm["reward_model"] == FIXED_REWARD_MODEL)
        return PAIRED_COLORS[shade % len(PAIRED_COLORS)]


def _claim_rows(claims: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a contrast, or a claim that was not tested, with what became of the claim."""
    shown = ("contrast", "measure", "value", "low", "high", "detectable")
    return [
        {"name": name, **{key: claim[key] for key in ("claim", "verdict", "p", "why")}, **{key: contrast[key] for key in shown if contrast}}
        for name, claim in claims.items()
        for contrast in claim["contrasts"] or [{}]
    ]


def _arm_tags(arm: dict[str, Any]) -> dict[str, Any]:
    return {key: arm[key] for key in ("method", "reward_model", "seed")}


def _number(round_id: str) -> int:
    return int(round_id.removeprefix("r"))


def _evaluation(estimates: dict[str, Any], step: int, model: str | None = None) -> list[Measure]:
    """A policy's metrics; the ends of their intervals stand in a group of their own, so that MLflow's first charts are few."""
    measures = []
    for key, estimate in estimates.items():
        measures += _measures("evaluation", {key: estimate["value"]}, step, model, is_test=True)
        measures += _measures("uncertainty", {f"{key}_low": estimate["low"], f"{key}_high": estimate["high"]}, step, model, is_test=True)
    return measures


def _is_trained(results: Path) -> bool:
    """Whether a model was trained here, and not taken as it is: only then was there something to read."""
    return read_metrics(results).get("num_steps") != 0


def _training(results: Path, step: int = 0, reward_model: str | None = None) -> list[Measure]:
    """The metrics.json of a training, at `step`, and its curves; those of a reward model under the keys that arms have too."""
    metrics = read_metrics(results)
    training = {key: value for key, value in metrics.items() if key == "final_loss" or key.startswith("num_")}
    rest = {key: value for key, value in metrics.items() if key not in training}
    evaluated = _measures("reward_model", rest, step, reward_model, is_test=True)
    return _measures("training", training, step) + evaluated + _curves("training", results)


def _curves(group: str, results: Path) -> list[Measure]:
    rows = read_curves(results)
    return [
        measure
        for row in rows
        for measure in _measures(group, {key: value for key, value in row.items() if key not in ("step", "epoch")}, int(row["step"]))
    ]


def _measures(group: str, values: dict[str, Any], step: int, model: str | None = None, is_test: bool = False) -> list[Measure]:
    """The numbers among `values`; what could not be measured (None) is left out."""
    return [
        Measure(f"{group}/{key}", float(value), step, model, is_test)
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def _judgement(group: str, numbers: dict[str, Any], step: int, model: str | None) -> list[Measure]:
    """The numbers of a judgement, with the ends of their intervals in the group that those of other metrics are in."""
    measures = _measures(group, numbers["counts"], step, model, is_test=True)
    for key, estimate in numbers["estimates"].items():
        measures += _measures(group, {key: estimate["value"]}, step, model, is_test=True)
        ends = {f"{group}_{key}_{end}": estimate[end] for end in ("low", "high")}
        measures += _measures("uncertainty", ends, step, model, is_test=True)
    return measures


def _verdicts(folder: Path) -> dict[str, str]:
    file = folder / "verdicts.jsonl"
    return {file.as_posix(): _md5(file)}


def _md5(path: Path) -> str:
    try:
        return hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest()
    except FileNotFoundError as error:
        raise MissingInputError(f"{path}: no such file; run the stage that writes it (dvc repro) first") from error
