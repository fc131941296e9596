"""Kills a small run again and again, and looks at what is left: the bytes, processes that live on, unfinished files, what was said.

    python -m benchmarks.chaos [--kills 20] [--seed 0] [--targets main group worker server stage interrupt terminate]

Each round begins with nothing but the code, starts `python -m pipeline.repro`, kills a target at a moment that is drawn, and runs again to
the end. A target that is not there yet is waited for.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import yaml

ROOT = Path(__file__).parents[1]
SIZES = {
    "num_rm_prompts": 32, "num_lm_prompts": 32, "num_game_prompts": 8, "num_further_pairs": 12, "num_validation_prompts": 8,
    "num_test_pairs": 24, "num_test_prompts": 12, "num_pretraining_examples": 100, "num_demonstrations": 32,
}  # fmt: skip
MAX_SECONDS = 900
GRACE_SECONDS = 3
"""For killed processes to end."""
END_SECONDS = 30
"""For a run that is told to end: it enters in dvc.lock what has run."""
LEFTOVER = re.compile(r"\..+\.partial|.*\.partial|.*\.[\w-]{22}\.tmp|apo-bench-\d+-.*")
TRACEBACK = "Traceback (most recent call last)"


def make_workspace(folder: Path) -> Path:
    """A copy of the code with a profile of one method and two rounds, at very small sizes."""
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
    params["run"] |= {"methods": ["dpo"], "seeds": [0], "later_rounds": params["run"]["later_rounds"][:1], **kinds}
    params["evaluate"] |= {"num_earlier_prompts": 8}
    params["judge"] |= {"rounds": ["r1"], "num_human_pairs": 8, "seeds": [0]}
    params["game"] |= {"seeds": [0]}
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
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    found = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", []) if "md5" in out}
    return {path: md5 for path, md5 in found.items() if "times" not in path and "mlflow" not in path}


def store(folder: Path) -> list[tuple[str, str, float]]:
    """The metrics of the MLflow store, but for seconds."""
    import sqlite3

    with sqlite3.connect(folder / "mlflow/mlflow.db") as database:
        rows = database.execute(
            "select tags.value, latest_metrics.key, latest_metrics.value from latest_metrics join tags using (run_uuid) "
            "where tags.key = 'mlflow.runName' order by 1, 2, 3"
        )
        return [row for row in rows if "second" not in row[1]]


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


def _of(run: subprocess.Popen[str], module: str) -> list[psutil.Process]:
    """The descendants of a run that have a module on their command line."""
    return [one for one in psutil.Process(run.pid).children(recursive=True) if module in one.cmdline()]


def _server(run: subprocess.Popen[str]) -> list[psutil.Process]:
    return [one for one in _of(run, "pipeline.server") if one.ppid() == run.pid]


TARGETS: dict[str, Callable[[subprocess.Popen[str]], list[psutil.Process]]] = {
    "main": lambda run: [psutil.Process(run.pid)],
    "group": lambda run: [psutil.Process(run.pid)],
    "worker": lambda run: [one for one in _of(run, "pipeline.repro") if one.ppid() == run.pid],
    "server": _server,
    "stage": lambda run: [one for server in _server(run) for handler in server.children() for one in handler.children()],
    "interrupt": lambda run: [psutil.Process(run.pid)],
    "terminate": lambda run: [psutil.Process(run.pid)],
}
"""What is killed: by SIGKILL, but for `interrupt`, as Ctrl-C does it to all of a terminal's processes, and `terminate`, SIGTERM."""


def kill(run: subprocess.Popen[str], target: str, rng: random.Random, deadline: float) -> str:
    """Kills a target; returns "" if it was there before the run ended, else why not."""
    while run.poll() is None and time.monotonic() < deadline:
        try:
            if victims := TARGETS[target](run):
                if target in ("group", "interrupt"):
                    os.killpg(run.pid, signal.SIGKILL if target == "group" else signal.SIGINT)
                else:
                    rng.choice(victims).send_signal(signal.SIGTERM if target == "terminate" else signal.SIGKILL)
                return ""
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.02)
    return "ended before"


def faults_after(folder: Path, run: subprocess.Popen[str], target: str) -> list[str]:
    """What is wrong after a kill, before anything is run again."""
    try:
        run.wait(
            {"main": GRACE_SECONDS, "group": GRACE_SECONDS, "interrupt": END_SECONDS, "terminate": END_SECONDS}.get(target, MAX_SECONDS)
        )
    except subprocess.TimeoutExpired:
        run.kill()
        return ["did not end"]
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := members(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    said = (folder / "log").read_text(errors="replace")
    lines = [line for line in said.splitlines() if line.startswith("repro: ")]
    found = [f"lives on: {' '.join(process.cmdline())}" for process in left]
    found += ["a traceback"] if TRACEBACK in said else []
    return found + ([f"{len(lines)} lines of explanation"] if len(lines) > 1 else [])


def faults_at_the_end(folder: Path, expected: tuple[dict[str, str], list[tuple[str, str, float]]]) -> list[str]:
    """What is wrong when it was run again: the status, the bytes, the store, what is left."""
    run = start(folder)
    run.wait(MAX_SECONDS)
    said = (folder / "log").read_text(errors="replace")
    if run.returncode:
        return [f"the next run ends with {run.returncode}: {said[-600:]}"]
    found = [] if outputs(folder) == expected[0] else ["other bytes"]
    found += [] if store(folder) == expected[1] else ["another store"]
    tops = [folder / name for name in ("out", "report", "mlflow", ".dvc", "temporary", "dvc.lock.partial")]
    left = [path for top in tops for path in (top, *top.rglob("*")) if path.exists() and LEFTOVER.fullmatch(path.name)]
    return found + [f"left: {path.relative_to(folder)}" for path in left]


def main() -> int:
    """Prints a row a target; returns 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="*", default=list(TARGETS), choices=TARGETS)
    options = parser.parse_args()
    counts: dict[str, Counter[str]] = {target: Counter() for target in options.targets}
    with TemporaryDirectory(prefix="chaos-") as place:
        folder = make_workspace(Path(place))
        began = time.monotonic()
        if start(folder).wait(MAX_SECONDS):
            print((folder / "log").read_text(), file=sys.stderr)
            return 1
        seconds = time.monotonic() - began
        expected = outputs(folder), store(folder)
        print(f"a calm run: {len(expected[0])} outputs, {seconds:.0f} s", flush=True)
        for number in range(options.kills):
            rng, target = random.Random(f"{options.seed} {number}"), options.targets[number % len(options.targets)]
            clear(folder)
            run = start(folder)
            moment = rng.uniform(0.5, 0.95 * seconds)
            time.sleep(moment)
            missed = kill(run, target, rng, time.monotonic() + seconds)
            faults = faults_after(folder, run, target) + faults_at_the_end(folder, expected)
            counts[target]["missed" if missed else "kills"] += 1
            counts[target]["faults"] += bool(faults)
            print(f"{target} after {moment:.1f} s: {missed or '; '.join(faults) or 'no fault'}", file=sys.stderr, flush=True)
    print("\n| killed | kills | with a fault | ended before |\n|---|---:|---:|---:|")
    for target, found in counts.items():
        print(f"| {target} | {found['kills']} | {found['faults']} | {found['missed']} |")
    return int(any(found["faults"] for found in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
