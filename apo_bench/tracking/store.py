"""The MLflow store: made to say what `description` says.

A run that says it already is not touched. Another is written anew under its own id, and its fingerprint last, so that a run whose writing
was cut short is written again. MLflow only appends to the history of a metric and never changes a param, so a run is emptied first.
"""

import json
import re
import shutil
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
from mlflow.entities.logged_model_status import LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from apo_bench.core.errors import OutputError
from apo_bench.core.files import read_jsonl
from apo_bench.data.records import read_dataset
from apo_bench.tracking.database import empty_run, make_database, move_artifacts
from apo_bench.tracking.model_files import link_model, write_model_files
from apo_bench.tracking.notes import NOTE, experiment_note, model_note
from apo_bench.tracking.runs import DataFile, Model, Run, Tracked
from apo_bench.tracking.views import views

MANAGED, FINGERPRINT = "apo_bench.tracked", "apo_bench.fingerprint"
"""Tags: the run is ours (others in the experiment are left alone), and what it shows."""
PATH, MD5 = "dvc.path", "dvc.md5"
"""Tags of a logged model: where DVC has it, and what it is."""
CHAMPION = "champion"
FULL = re.compile(r"disk is full|No space left|quota exceeded")
"""What SQLite and the system say of a disk without room."""
MAX_RUNS = 50_000
"""MLflow's own limit of one search."""
SCORE_TITLES = {"gold": "gold", "reward_all": "RM_all"}
"""What the best arm may be the best by."""
POLICY_TITLE = "The arm with the highest {} after the last round"
REWARD_TITLE = "The reward model that orders human test pairs best, of those that train policies"


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
        OutputError: the store cannot be written.
    """
    try:
        return _Store(Path(folder).absolute(), tracked).write()
    except (OSError, SQLAlchemyError, MlflowException) as error:
        cause = " ".join(str(error).partition("(Background on")[0].split())[:300]
        to_do = "make room" if FULL.search(cause) else "mend that, or delete the folder to have it made anew"
        raise OutputError(f"{folder}: the MLflow store cannot be written ({cause}); {to_do} and run again") from error


class _Store:
    def __init__(self, folder: Path, tracked: Tracked) -> None:
        """Opens the store, and makes it and the experiment if they are not there."""
        self.folder, uri = folder, make_database(folder)
        mlflow.set_tracking_uri(uri)  # registering a model asks no client
        self.client = MlflowClient(uri)
        self.tracked, self.profile = tracked, tracked.profile
        self.experiment_id = self._experiment((folder / "artifacts" / self.profile).as_uri())
        longest = max(run.seconds for run in tracked.runs)
        self.started = {run.name: _now() - round(1000 * longest) + number for number, run in enumerate(tracked.runs)}

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
        for model in (model for models in self._models().values() for model in models if PATH in model.tags):
            link_model(Path(model.tags[PATH]), _folder(model))
        self._crown(f"{self.profile}-best", *tracked.best, POLICY_TITLE.format(SCORE_TITLES[tracked.best_by]), stored)
        self._crown(f"{self.profile}-best-reward", *tracked.best_reward, REWARD_TITLE, stored)
        num_new = sum(run.name not in stored for run in changed)
        return Outcome(num_new, len(changed) - num_new, len(tracked.runs) - len(changed), len(superfluous))

    def _experiment(self, artifacts: str) -> str:
        known = self.client.get_experiment_by_name(self.profile)
        kind = {"mlflow.experimentKind": "custom_model_development"}
        found = known or self.client.get_experiment(self.client.create_experiment(self.profile, artifacts, kind))
        if found.artifact_location != artifacts:
            move_artifacts(self.client, found.artifact_location.removesuffix(f"/artifacts/{self.profile}"), self.folder.as_uri())
        if found.lifecycle_stage != "active":
            self.client.restore_experiment(found.experiment_id)
        has_gold = self.tracked.best_by == "gold"
        tags = {NOTE: experiment_note(self.profile, found.experiment_id, has_gold), **views(has_gold)}
        for key, value in tags.items():
            if found.tags.get(key) != value:
                self.client.set_experiment_tag(found.experiment_id, key, value)
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
            self._delete_model(model)
        self.client.delete_run(run.info.run_id)

    def _delete_model(self, model: LoggedModel) -> None:
        """Its files too: they would keep the weights of a model that DVC no longer has."""
        self.client.delete_logged_model(model.model_id)
        shutil.rmtree(_folder(model), ignore_errors=True)

    def _write_run(self, run: Run, stored: StoredRun | None, models: dict[str, list[LoggedModel]]) -> None:
        if stored is None:
            started = self.started[run.name]
            run_id = self.client.create_run(self.experiment_id, started, {MANAGED: "true"}, run.name).info.run_id
        else:
            run_id, started = stored.info.run_id, stored.info.start_time
            self._reopen(stored)
        model_ids = self._write_models(run, run_id, models.get(run_id, []))
        now = _now()
        test = next((file for file in run.data if file.context == "evaluation"), None)
        metrics = []
        for measure in run.metrics:
            model_id = model_ids[measure.model] if measure.model else None
            name, digest = (test.name, test.md5) if test and measure.is_test else (None, None)
            metrics.append(Metric(measure.key, measure.value, now, measure.step, model_id, name, digest, run_id))
        self.client.log_batch(run_id, metrics, [Param(key, value) for key, value in run.params.items()])
        self.client.log_inputs(run_id, [_dataset_input(file) for file in run.data])
        self.client.log_outputs(run_id, [LoggedModelOutput(model_ids[model.name], model.round) for model in run.models])
        self._write_artifacts(run, run_id)
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in (run.tags | _git_tags()).items()])
        self.client.set_terminated(run_id, end_time=started + round(1000 * run.seconds))
        self.client.set_tag(run_id, FINGERPRINT, run.fingerprint)

    def _reopen(self, stored: StoredRun) -> None:
        """Makes a run as if nothing had been written to it yet."""
        run_id = stored.info.run_id
        if stored.info.lifecycle_stage != "active":
            self.client.restore_run(run_id)
        if FINGERPRINT in stored.data.tags:
            self.client.delete_tag(run_id, FINGERPRINT)
        self.client.update_run(run_id, status="RUNNING")
        empty_run(self.client, run_id)

    def _write_models(self, run: Run, run_id: str, stored: list[LoggedModel]) -> dict[str, str]:
        """Logged models that point at DVC's outputs, by name. One with the same bytes is kept, others of the run are deleted."""
        wanted = {(model.name, model.md5): model for model in run.models}
        kept: dict[str, LoggedModel] = {}
        for old in stored:
            key = (old.name, old.tags.get(MD5, ""))
            if key in wanted and old.name not in kept and old.status == "READY":
                kept[old.name] = old
            else:
                self._delete_model(old)
        for model in run.models:
            logged = kept.get(model.name) or self._create_model(model, run, run_id)
            self.client.set_logged_model_tags(logged.model_id, {NOTE: model_note(model, logged.model_id)})
            write_model_files(model, _folder(logged), logged.model_id, run_id)
            if logged.status != "READY":
                self.client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
            kept[model.name] = logged
        return {name: logged.model_id for name, logged in kept.items()}

    def _create_model(self, model: Model, run: Run, run_id: str) -> LoggedModel:
        own = {key: run.tags[key] for key in ("kind", "method", "reward_model", "seed") if key in run.tags}
        tags = own | {PATH: model.path, MD5: model.md5, "round": str(model.round)}
        return self.client.create_logged_model(self.experiment_id, model.name, run_id, tags, run.params, model.kind)

    def _write_artifacts(self, run: Run, run_id: str) -> None:
        for path in run.artifacts:
            self.client.log_artifact(run_id, path)
        self.client.log_dict(run_id, run.all_params, "params.json")
        tables = {name: rows for name, rows in {"numbers": run.numbers, **run.tables}.items() if rows}
        tables |= {name: _verdict_rows(files) for name, files in run.verdicts.items()}
        for name, table in tables.items():
            columns = list(dict.fromkeys(key for row in table for key in row))
            rows = [[row.get(column) for column in columns] for row in table]
            self.client.log_dict(run_id, {"columns": columns, "data": rows}, f"{name}.json")
        if tables:
            shown = [{"path": f"{name}.json", "type": "table"} for name in tables]
            self.client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps(shown))

    def _crown(self, name: str, run_name: str, model_name: str, description: str, stored: dict[str, StoredRun]) -> None:
        """Points the alias `champion` of the registered model `name` at a model; registers a version of it only if there is none."""
        run_id = stored[run_name].info.run_id if run_name in stored else self._stored({run_name})[0][run_name].info.run_id
        page = self.client.search_logged_models([self.experiment_id], f"name = '{model_name}'")
        model = next(model for model in page if model.source_run_id == run_id)
        registered = next(iter(self.client.search_registered_models(f"name = '{name}'")), None)
        if registered is None:
            registered = self.client.create_registered_model(name, description=description)
        elif registered.description != description:
            self.client.update_registered_model(name, description)
        versions = self.client.search_model_versions(f"name = '{name}'")
        version = next((version.version for version in versions if version.source == f"models:/{model.model_id}"), None)
        if version is None:
            tags = {"run": run_name, PATH: model.tags[PATH], MD5: model.tags[MD5]}
            created = self.client.create_model_version(
                name, f"models:/{model.model_id}", run_id, tags, description=model.tags[NOTE], model_id=model.model_id
            )
            version = created.version
        if str(registered.aliases.get(CHAMPION)) != str(version):
            self.client.set_registered_model_alias(name, CHAMPION, str(version))


def _folder(model: LoggedModel) -> Path:
    """Of the artifacts of a logged model."""
    return Path(local_file_uri_to_path(model.artifact_location))


def _now() -> int:
    """Milliseconds, as MLflow counts."""
    return time.time_ns() // 1_000_000


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
