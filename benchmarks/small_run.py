"""A run of all kinds of stages at very small sizes, to be broken: its folder, its start, what it made, what it left and said."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).parents[1]
SIZES = {
    "num_rm_prompts": 32, "num_lm_prompts": 32, "num_game_prompts": 8, "num_further_pairs": 12, "num_validation_prompts": 8,
    "num_test_pairs": 24, "num_test_prompts": 12, "num_pretraining_examples": 100, "num_demonstrations": 32,
}  # fmt: skip
MAX_SECONDS = 900
LEFTOVER = re.compile(r"\..+\.partial|.*\.partial|.*\.[\w-]{22}\.tmp|apo-bench-\d+-.*")
TORCH_CACHE = "torchinductor_"
"""torch makes an empty folder of this name wherever it is imported, once for all programs of a user; it stays after a calm run too."""
TRACEBACK = "Traceback (most recent call last)"
SAID = re.compile(r"^(the stage server|ERROR|WARNING|[a-z_]+(@[\w-]+)?): ", re.MULTILINE)
"""How a line begins that explains something, or says what a stage did."""
CURSOR = re.compile(r"\r|\x1b\[A")
"""Where a progress bar goes to another line."""
REGULAR = re.compile(r"repro: \d+ of \d+ stages|.* -> |.*\d+%\|")


def make_workspace(folder: Path) -> Path:
    """A copy of the code with a profile of one method and one round, at very small sizes."""
    for name in ("apo_bench", "pipeline"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["prepare"] |= SIZES
    params["base_model"] |= {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "intermediate_size": 64, "vocab_size": 400}
    for part in ("train", "test"):
        params["sampling"][part] |= {"num_samples": 2 if part == "train" else 1, "max_new_tokens": 12}
    kinds = {"reward_models": ["base", "adversarial"], "fixed_reward_models": ["base"], "gold_reward_models": []}
    kinds["sft_start_reward_models"] = kinds["reward_models"]
    params["run"] |= {"methods": ["dpo"], "seeds": [0], "later_rounds": [], **kinds}
    params["evaluate"] |= {"num_earlier_prompts": 8}
    params["judge"] |= {"rounds": ["r1"], "num_human_pairs": 8, "seeds": [0]}
    params["game"] |= {"seeds": []}
    params["compare"] |= {"num_bootstrap_draws": 1000, "num_shown_prompts": 2}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (folder / "temporary").mkdir()
    subprocess.run([Path(sys.executable).parent / "dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True)
    return folder


def start(folder: Path) -> subprocess.Popen[str]:
    """The run, in a session of its own, with temporary files of its own."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder), "TMPDIR": str(folder / "temporary")}
    log = (folder / "log").open("w")
    command = [sys.executable, "-m", "pipeline.repro"]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, text=True, start_new_session=True)


def clear(folder: Path) -> None:
    """Takes away all that runs made, the cache included."""
    for name in ("out", "report", "mlflow", ".dvc/cache"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "dvc.lock").unlink(missing_ok=True)


def outputs(folder: Path) -> dict[str, str]:
    """Path -> checksum of what stages made, but for their seconds and the store, which names moments."""
    lock = folder / "dvc.lock"
    stages = yaml.safe_load(lock.read_text())["stages"] if lock.exists() else {}
    found = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", []) if "md5" in out}
    return {path: md5 for path, md5 in found.items() if "times" not in path and "mlflow" not in path}


def store(folder: Path) -> list[tuple[object, ...]]:
    """What the MLflow store says: metrics but for seconds, params, models that are ready, registered ones."""
    queries = (
        "select 'metric', tags.value, key_of.key, key_of.value from latest_metrics key_of join tags using (run_uuid) "
        "where tags.key = 'mlflow.runName' and key_of.key not like '%second%'",
        "select 'param', tags.value, params.key, params.value from params join tags using (run_uuid) "
        "where tags.key = 'mlflow.runName' and params.key not like '%second%'",
        "select 'runs', count(*) from runs where lifecycle_stage = 'active' and status = 'FINISHED'",
        "select 'model', name, count(*) from logged_models where lifecycle_stage = 'active' and status = 2 group by name",
        "select 'version', name, count(*) from model_versions group by name",
        "select 'alias', name, alias from registered_model_aliases",
    )
    with sqlite3.connect(folder / "mlflow/mlflow.db") as database:
        return sorted((row for query in queries for row in database.execute(query)), key=repr)


def members(folder: Path) -> list[psutil.Process]:
    """The living processes that work in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def explanations(text: str) -> list[str]:
    """The lines of a log that explain something, and not what a stage did or how far the run is."""
    return [line for line in CURSOR.sub("\n", text).splitlines() if SAID.match(line) and not REGULAR.match(line)]


def faults_at_the_end(folder: Path, expected: "Made") -> list[str]:
    """What is wrong with a run that has ended well: the bytes, the store, what is left."""
    made = Made.by(folder)
    found = [] if made.outputs == expected.outputs else ["other bytes"]
    found += [] if made.store == expected.store else ["another store"]
    tops = [folder / name for name in ("out", "report", "mlflow", ".dvc", "dvc.lock.partial")]
    left = [path for top in tops for path in (top, *top.rglob("*")) if path.exists() and LEFTOVER.fullmatch(path.name)]
    left += (path for path in (folder / "temporary").iterdir() if not path.name.startswith(TORCH_CACHE))
    return found + [f"left: {path.relative_to(folder)}" for path in left]


@dataclass(frozen=True)
class Made:
    """What a run made, to compare."""

    outputs: dict[str, str]
    store: list[tuple[object, ...]]

    @classmethod
    def by(cls, folder: Path) -> "Made":
        """Reads it."""
        return cls(outputs(folder), store(folder) if (folder / "mlflow/mlflow.db").exists() else [])
