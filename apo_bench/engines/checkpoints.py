"""A stage's ranks keep checkpoints in a scratch folder, keyed by all that shapes the result, so that none is taken for another's."""

import hashlib
import json
import shutil
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apo_bench
from apo_bench.core.layout import OUT

SCRATCH = OUT / "checkpoints"
"""In the profile's folder; no output of DVC, whose `persist` would record what another setting left behind."""
COMPLETE, PARTIAL = "step-", "partial"
"""Names of checkpoints: `step-100`; one that is still being written has the other name."""


def scratch_folder(command: list[str], params: dict[str, Any], inputs: list[Path], num_ranks: int, package: str) -> Path:
    """The folder for the checkpoints of a stage, made if need be; what the same command kept with other inputs is deleted.

    Args:
        command: the stage and its arguments.
        params: what of params.yaml can shape its result.
        inputs: files and folders that it reads.
        num_ranks: checkpoints are sharded by rank.
        package: what trains.
    """
    mine = SCRATCH / f"{command[0]}-{_digest(json.dumps(command).encode())}"
    folder = mine / fingerprint(command, params, inputs, num_ranks, package)
    for other in [] if folder.exists() else mine.glob("*"):
        shutil.rmtree(other)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fingerprint(command: list[str], params: dict[str, Any], inputs: list[Path], num_ranks: int, package: str) -> str:
    """Of the command, the params, the contents of inputs and of our code, and the versions of what trains."""
    code = Path(apo_bench.__file__).parents[1]
    sources = [file for package in ("apo_bench", "pipeline") for file in (code / package).rglob("*.py")]
    read = [file for path in inputs for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    contents = [[str(file), _digest_file(file)] for file in sorted(read)] + [
        [str(file.relative_to(code)), _digest_file(file)] for file in sorted(sources)
    ]
    versions = [version(name) for name in ("torch", "transformers", package)]
    return _digest(json.dumps([command, params, contents, num_ranks, versions], sort_keys=True).encode())


def last_step(folder: Path) -> int:
    """The step of the last complete checkpoint; 0 if there is none."""
    return max((int(path.name.removeprefix(COMPLETE)) for path in folder.glob(f"{COMPLETE}*")), default=0)


def remove(folder: Path) -> None:
    """Deletes a stage's checkpoints, and the scratch folder if no other stage has any."""
    shutil.rmtree(folder.parent, ignore_errors=True)
    with suppress(OSError):  # another stage's are there
        SCRATCH.rmdir()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _digest_file(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
