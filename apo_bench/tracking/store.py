"""The MLflow store: made to say what `description` says. The only file that imports mlflow.

A run that says it already is not touched. Another is written anew under its own id, and its fingerprint last, so that a run whose writing
was cut short is written again. MLflow only appends to the history of a metric and never changes a param, so a run is emptied first.
"""

import json
import logging
import os
import subprocess
import time
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.huggingface_dataset import HuggingFaceDataset
from mlflow.entities import DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag, ViewType
from mlflow.entities import Run as StoredRun
from mlflow.entities.logged_model import LoggedModel
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from apo_bench.core.errors import OutputError
from apo_bench.core.files import read_jsonl
from apo_bench.data.records import read_dataset
from apo_bench.tracking.runs import DataFile, Model, Run, Tracked

logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each migration of a new store
logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)

MANAGED, FINGERPRINT = "apo_bench.tracked", "apo_bench.fingerprint"
"""Tags: the run is ours (others in the experiment are left alone), and what it shows."""
CHAMPION = "champion"
MAX_RUNS = 50_000
"""MLflow's own limit of one search."""
EXPERIMENT_NOTE = """Adversarial preference optimisation against the baselines, profile `{profile}`, as DVC's outputs have it.

- **Arms** (`tags.kind = "arm"`): method x reward model, means over replicates. `evaluation/...` by round, 0 being the SFT start;
`uncertainty/..._low` and `_high` are the ends of the interval of the metric of that name, over replicates or, of a single one, prompts.
- **Replicates** (`tags.kind = "replicate"`): an arm with one seed. The same, and `training/rN/...` by training step of round N.
- **References** (`kind` `sft` and `reference`): policies that the arms are compared with; their step is the last round.
- **Reward models** (`kind = "reward_model"`): `reward_model/...` on human test pairs. Arms carry those of what trained them.
- **Judge** (in replicates `judge/...` against SFT and `judge_versus_base/...`, tables `judge_verdicts.json`; on human pairs
`kind = "judge"`): win rates, and the audit of the judge that they come from; `tags.judge.findings` says what it found.
- **Budget** (`budget/...`): what a policy took up to a round, counts and seconds; `budget/shared_...` the part that others share.
- **comparison**: the page `index.html`, the differences between arms with another and with the fixed reward model, and the verdicts on
the paper's claims (`claims.json`, tags `claim.C1` ...) by the primary outcome; by others `claims_by_RM_all.json`, `claim_by_RM_all.C1` ...
"""
GOLD_UNKNOWN_NOTE = "- The true reward is unknown on this data: `evaluation/reward_all` (RM_all) is only a proxy of human preference.\n"
SCORE_TITLES = {"gold": "gold", "reward_all": "RM_all"}
"""What the best arm may be the best by."""


@dataclass(frozen=True)
class Outcome:
    """What a call of `write` did."""

    num_new: int
    num_updated: int
    num_unchanged: int
    num_removed: int

    def __str__(self) -> str:
        return f"{self.num_new} new, {self.num_updated} updated, {self.num_unchanged} unchanged, {self.num_removed} removed runs"


def write(tracked: Tracked, folder: Path) -> Outcome:
    """Makes the store in `folder` show exactly the runs of `tracked` in the experiment of its profile.

    Raises:
        OutputError: the store cannot be written, or was made in another folder.
    """
    try:
        return _Store(Path(folder).absolute(), tracked).write()
    except (OSError, SQLAlchemyError, MlflowException) as error:
        cause = " ".join(str(error).split())[:300]
        raise OutputError(f"{folder}: the MLflow store cannot be written ({cause}); delete the folder to have it made anew") from error


class _Store:
    def __init__(self, folder: Path, tracked: Tracked) -> None:
        """Opens the store, and makes it and the experiment if they are not there."""
        self.uri = _make_database(folder)
        mlflow.set_tracking_uri(self.uri)  # create_external_model takes no client
        self.client = MlflowClient(self.uri)
        self.tracked, self.profile = tracked, tracked.profile
        self.experiment_id = self._experiment((folder / "artifacts" / self.profile).as_uri())

    def write(self) -> Outcome:
        tracked = self.tracked
        stored, superfluous = self._stored({run.name for run in tracked.runs})
        changed = [run for run in tracked.runs if not _is_current(stored.get(run.name), run)]
        if changed or superfluous:
            for gone in superfluous:
                self._remove(gone)
            models = self._models()
            for run in tqdm(changed, desc="MLflow runs", unit="run"):
                self._write_run(run, stored.get(run.name), models)
        self._crown(*tracked.best, stored)
        num_new = sum(run.name not in stored for run in changed)
        return Outcome(num_new, len(changed) - num_new, len(tracked.runs) - len(changed), len(superfluous))

    def _experiment(self, artifacts: str) -> str:
        found = self.client.get_experiment_by_name(self.profile)
        if found is None:
            note = EXPERIMENT_NOTE.format(profile=self.profile) + (GOLD_UNKNOWN_NOTE if self.tracked.best_by != "gold" else "")
            tags = {"mlflow.note.content": note, "mlflow.experimentKind": "custom_model_development"}
            return self.client.create_experiment(self.profile, artifacts, tags)
        if found.artifact_location != artifacts:
            raise OutputError(f"{artifacts}: the store was made as {found.artifact_location}; delete its folder, then run track again")
        if found.lifecycle_stage != "active":
            self.client.restore_experiment(found.experiment_id)
        return found.experiment_id

    def _stored(self, names: set[str]) -> tuple[dict[str, StoredRun], list[StoredRun]]:
        """Our runs in the store by name, deleted ones if there is no other; and active ones that are not to be shown."""
        found = self.client.search_runs([self.experiment_id], f"tags.`{MANAGED}` = 'true'", ViewType.ALL, MAX_RUNS)
        stored: dict[str, StoredRun] = {}
        superfluous = []
        for run in sorted(found, key=lambda run: run.info.lifecycle_stage):  # active before deleted
            is_active = run.info.lifecycle_stage == "active"
            if run.info.run_name in names and run.info.run_name not in stored:
                stored[run.info.run_name] = run
            elif is_active:
                superfluous.append(run)
        return stored, superfluous

    def _models(self) -> dict[str, list[LoggedModel]]:
        """The logged models of the experiment by the id of their run."""
        models: dict[str, list[LoggedModel]] = {}
        token = None
        while True:
            page = self.client.search_logged_models([self.experiment_id], page_token=token)
            for model in page:
                models.setdefault(model.source_run_id or "", []).append(model)
            token = page.token
            if not token:
                return models

    def _remove(self, run: StoredRun) -> None:
        for model in self._models().get(run.info.run_id, []):
            self.client.delete_logged_model(model.model_id)
        self.client.delete_run(run.info.run_id)

    def _write_run(self, run: Run, stored: StoredRun | None, models: dict[str, list[LoggedModel]]) -> None:
        if stored is None:
            run_id = self.client.create_run(self.experiment_id, tags={MANAGED: "true"}, run_name=run.name).info.run_id
        else:
            run_id = stored.info.run_id
            self._empty(stored)
        model_ids = self._write_models(run, run_id, models.get(run_id, []))
        now = time.time_ns() // 1_000_000
        test = next((file for file in run.data if file.context == "evaluation"), None)
        metrics = []
        for measure in run.measures:
            model_id = model_ids[measure.model] if measure.model else None
            name, digest = (test.name, test.md5) if test and measure.is_test else (None, None)
            metrics.append(Metric(measure.key, measure.value, now, measure.step, model_id, name, digest, run_id))
        self.client.log_batch(run_id, metrics, [Param(key, value) for key, value in run.params.items()])
        self.client.log_inputs(run_id, [_dataset_input(file) for file in run.data])
        self.client.log_outputs(run_id, [LoggedModelOutput(model_ids[model.name], model.round) for model in run.models])
        self._write_artifacts(run, run_id)
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in (run.tags | _git_tags()).items()])
        self.client.set_terminated(run_id)
        self.client.set_tag(run_id, FINGERPRINT, run.fingerprint)

    def _empty(self, stored: StoredRun) -> None:
        """Deletes what a run shows and keeps the run. MLflow's API has no way to do so; its tables have had these names since 1.1."""
        from mlflow.store.tracking.dbmodels.models import SqlInput, SqlInputTag, SqlLatestMetric, SqlLoggedModelMetric, SqlMetric, SqlParam

        run_id = stored.info.run_id
        if stored.info.lifecycle_stage != "active":
            self.client.restore_run(run_id)
        if FINGERPRINT in stored.data.tags:
            self.client.delete_tag(run_id, FINGERPRINT)
        self.client.update_run(run_id, status="RUNNING")
        with self.client._tracking_client.store.ManagedSessionMaker(read_only=False) as session:
            for table in (SqlMetric, SqlLatestMetric, SqlParam):
                session.query(table).filter(table.run_uuid == run_id).delete()
            session.query(SqlLoggedModelMetric).filter(SqlLoggedModelMetric.run_id == run_id).delete()
            inputs = session.query(SqlInput).filter((SqlInput.source_id == run_id) | (SqlInput.destination_id == run_id))
            ids = [row.input_uuid for row in inputs]
            session.query(SqlInputTag).filter(SqlInputTag.input_uuid.in_(ids)).delete()
            inputs.delete()

    def _write_models(self, run: Run, run_id: str, stored: list[LoggedModel]) -> dict[str, str]:
        """Logged models that point at DVC's outputs, by name. One with the same bytes is kept, others of the run are deleted."""
        wanted = {(model.name, model.md5): model for model in run.models}
        ids: dict[str, str] = {}
        for old in stored:
            key = (old.name, old.tags.get("dvc.md5", ""))
            if key in wanted and old.name not in ids and old.status == "READY":
                ids[old.name] = old.model_id
            else:
                self.client.delete_logged_model(old.model_id)
        for model in run.models:
            if model.name not in ids:
                ids[model.name] = self._create_model(model, run, run_id)
        return ids

    def _create_model(self, model: Model, run: Run, run_id: str) -> str:
        own = {key: run.tags[key] for key in ("kind", "method", "reward_model", "seed") if key in run.tags}
        tags = own | {"dvc.path": model.path, "dvc.md5": model.md5, "round": str(model.round)}
        created = mlflow.create_external_model(
            name=model.name, source_run_id=run_id, tags=tags, params=run.params, model_type=model.kind, experiment_id=self.experiment_id
        )
        return created.model_id

    def _write_artifacts(self, run: Run, run_id: str) -> None:
        for path in run.artifacts:
            self.client.log_artifact(run_id, path)
        tables = {name: rows for name, rows in run.tables.items() if rows}
        tables |= {name: _verdict_rows(files) for name, files in run.verdicts.items()}
        for name, table in tables.items():
            columns = list(dict.fromkeys(key for row in table for key in row))
            rows = [[row.get(column) for column in columns] for row in table]
            self.client.log_dict(run_id, {"columns": columns, "data": rows}, f"{name}.json")
        if tables:
            shown = [{"path": f"{name}.json", "type": "table"} for name in tables]
            self.client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps(shown))

    def _crown(self, run_name: str, model_name: str, stored: dict[str, StoredRun]) -> None:
        """Points the alias `champion` of `<profile>-best` at the best model; registers a version of it only if there is none."""
        name = f"{self.profile}-best"
        run_id = stored[run_name].info.run_id if run_name in stored else self._stored({run_name})[0][run_name].info.run_id
        page = self.client.search_logged_models([self.experiment_id], f"name = '{model_name}'")
        model = next(model for model in page if model.source_run_id == run_id)
        registered = next(iter(self.client.search_registered_models(f"name = '{name}'")), None)
        description = f"The arm with the highest {SCORE_TITLES[self.tracked.best_by]} after the last round"
        if registered is None:
            registered = self.client.create_registered_model(name, description=description)
        elif registered.description != description:
            self.client.update_registered_model(name, description)
        versions = self.client.search_model_versions(f"name = '{name}'")
        version = next((version.version for version in versions if version.source == f"models:/{model.model_id}"), None)
        if version is None:
            tags = {"arm": run_name, "dvc.path": model.tags["dvc.path"], "dvc.md5": model.tags["dvc.md5"]}
            created = self.client.create_model_version(name, f"models:/{model.model_id}", run_id, tags, model_id=model.model_id)
            version = created.version
        if str(registered.aliases.get(CHAMPION)) != str(version):
            self.client.set_registered_model_alias(name, CHAMPION, str(version))


def _make_database(folder: Path) -> str:
    """The address of the store's database, which is made under another name first: a half-made one cannot be repaired."""
    database, scratch = folder / "mlflow.db", folder / ".mlflow.db.partial"
    if not database.exists():
        folder.mkdir(parents=True, exist_ok=True)
        scratch.unlink(missing_ok=True)
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        SqlAlchemyStore(_address(scratch), (folder / "artifacts").as_uri())._dispose_engine()
        os.replace(scratch, database)
    return _address(database)


def _address(database: Path) -> str:
    """As SQLAlchemy reads it. Its addresses have no way to write % and ?, so that these are kept out where they are above the profile."""
    below = database.relative_to(Path.cwd()) if database.is_relative_to(Path.cwd()) and {*"%?#"} & {*str(database)} else database
    return f"sqlite:///{below}"


def _verdict_rows(files: dict[str, str]) -> list[dict[str, Any]]:
    """The rows of all files, each with where it comes from."""
    return [{"file": path, **row} for path in files for row in read_jsonl(Path(path))]


def _is_current(stored: StoredRun | None, run: Run) -> bool:
    return stored is not None and stored.info.lifecycle_stage == "active" and stored.data.tags.get(FINGERPRINT) == run.fingerprint


@cache
def _dataset(file: DataFile) -> Any:
    """Digest and name are DVC's; schema and number of rows are read off the records."""
    with warnings.catch_warnings(action="ignore"):  # MLflow knows two names of the same kind of source
        source: Any = resolve_dataset_source(file.path)
    return HuggingFaceDataset(read_dataset(Path(file.path), file.kind), source, name=file.name, digest=file.md5)._to_mlflow_entity()


def _dataset_input(file: DataFile) -> DatasetInput:
    return DatasetInput(_dataset(file), [InputTag("mlflow.data.context", file.context)])


@cache
def _git_tags() -> dict[str, str]:
    """The commit, and whether code differed from it: outputs of the pipeline that git carries do not count."""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!*dvc.lock", ":!*report/")
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"git.commit": commit, "git.dirty": str(bool(changed)).lower(), "mlflow.source.git.commit": commit}


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
