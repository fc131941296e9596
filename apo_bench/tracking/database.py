"""The database of the MLflow store, where MLflow's API has no way: made whole or not at all, runs emptied, artifacts moved.

MLflow's tables have had these names since 1.1, those of models since 3.0.
"""

import logging
import os
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from sqlalchemy import func, literal, update

logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each migration of a new store
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # the errors it tells of with a traceback are raised too


def make_database(folder: Path) -> str:
    """The address of the store's database, which is made under another name first: a half-made one cannot be repaired."""
    database, scratch = folder / "mlflow.db", folder / ".mlflow.db.partial"
    if not database.exists():
        folder.mkdir(parents=True, exist_ok=True)
        scratch.unlink(missing_ok=True)
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        SqlAlchemyStore(_address(scratch), (folder / "artifacts").as_uri())._dispose_engine()
        os.replace(scratch, database)
    return _address(database)


def empty_run(client: MlflowClient, run_id: str) -> None:
    """Deletes a run's metrics, params and inputs, and keeps the run."""
    from mlflow.store.tracking.dbmodels.models import SqlInput, SqlInputTag, SqlLatestMetric, SqlLoggedModelMetric, SqlMetric, SqlParam

    with _session(client) as session:
        for table in (SqlMetric, SqlLatestMetric, SqlParam):
            session.query(table).filter(table.run_uuid == run_id).delete()
        session.query(SqlLoggedModelMetric).filter(SqlLoggedModelMetric.run_id == run_id).delete()
        inputs = session.query(SqlInput).filter((SqlInput.source_id == run_id) | (SqlInput.destination_id == run_id))
        ids = [row.input_uuid for row in inputs]
        session.query(SqlInputTag).filter(SqlInputTag.input_uuid.in_(ids)).delete()
        inputs.delete()


def move_artifacts(client: MlflowClient, old: str, new: str) -> None:
    """Has MLflow look for all artifacts of the store below `new` and no longer below `old`, both addresses of folders."""
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
    from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLoggedModel, SqlRun

    columns: tuple[Any, ...] = (
        SqlExperiment.artifact_location,
        SqlRun.artifact_uri,
        SqlLoggedModel.artifact_location,
        SqlModelVersion.storage_location,
    )
    with _session(client) as session:
        for column in columns:
            moved = update(column.class_).where(column.startswith(f"{old}/", autoescape=True))
            session.execute(moved.values({column: literal(new) + func.substr(column, len(old) + 1)}))
    _artifact_repos_cache.clear()  # where MLflow has found artifacts once, it looks for them again


def _session(client: MlflowClient) -> Any:
    return client._tracking_client.store.ManagedSessionMaker(read_only=False)


def _address(database: Path) -> str:
    """As SQLAlchemy reads it. Its addresses have no way to write % and ?, so that these are kept out where they are above the profile."""
    below = database.relative_to(Path.cwd()) if database.is_relative_to(Path.cwd()) and {*"%?#"} & {*str(database)} else database
    return f"sqlite:///{below}"
