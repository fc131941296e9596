"""A note in a profile's folder that nothing has to run: what DVC found up to date stays so until one of its files changes.

To read dvc.yaml and dvc.lock and to hash what hundreds of stages read takes seconds. As DVC does for each file, the note goes by inode,
time of change and size; also of the folders of the cache, where DVC must find what it could have to restore.
"""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from apo_bench.core.files import write_json
from apo_bench.core.layout import OUT

SEAL = OUT / "up_to_date.json"
CONTROLS = (Path("dvc.yaml"), Path("params.yaml"), Path("dvc.lock"))
IGNORED_FOLDER, IGNORED_SUFFIX = "__pycache__", ".pyc"
"""What .dvcignore names."""


def sealed() -> int | None:
    """The number of stages of the current folder's profile if none of them has to run; None if that is not known."""
    try:
        seal = json.loads(SEAL.read_text(encoding="utf-8"))
        is_unbroken = seal["digest"] == _digest(seal["controls"], seal["paths"], seal["cache"]) and seal["controls"] == look_at_controls()
        return int(seal["num_stages"]) if is_unbroken else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def look_at_controls() -> list[str]:
    """What the files that say what has to run are like; to be asked before they are read."""
    return list(_looks(map(str, CONTROLS)))


class Seal:
    """What a profile's files are like before DVC is asked about them."""

    def __init__(self, repo: Any, stages: Collection[Any], controls: list[str]) -> None:
        """Looks at them.

        Args:
            repo: of DVC.
            stages: of the profile, as DVC has read them.
            controls: what `look_at_controls` said before that.
        """
        settings = [Path(repo.root_dir, name) for name in (".dvcignore", ".dvc/config", ".dvc/config.local")]
        files = {os.path.relpath(file.fs_path) for stage in stages for file in (*stage.deps, *stage.outs)}
        self._paths = sorted(_without_those_inside({*files, *map(os.path.relpath, settings)} - {"params.yaml"}))
        self._cache, self._controls, self._num_stages = os.path.relpath(repo.cache.local.path), controls, len(stages)
        self._digest = _digest(controls, self._paths, self._cache)

    def write(self) -> None:
        """Notes that nothing had to run, as they were."""
        names = ("digest", "controls", "paths", "cache", "num_stages")
        write_json(SEAL, {name: getattr(self, f"_{name}") for name in names})


def _digest(controls: Iterable[str], paths: Iterable[str], cache: str) -> str:
    digest = hashlib.sha256()
    folders = sorted(map(str, Path(cache).iterdir())) if Path(cache).is_dir() else []  # there is none before the first run
    for look in (*controls, *_looks(paths), *map(_look, folders)):
        digest.update(look.encode() + b"\0")
    return digest.hexdigest()


def _looks(paths: Iterable[str]) -> Iterator[str]:
    """Of files, and of all in folders; one that is not there as well."""
    for path in paths:
        if not Path(path).is_dir():
            yield _look(path)
            continue
        for folder, names, files in os.walk(path, followlinks=True):
            names[:] = sorted(name for name in names if name != IGNORED_FOLDER)
            yield folder
            yield from (_look(f"{folder}/{file}") for file in sorted(files) if not file.endswith(IGNORED_SUFFIX))


def _look(path: str) -> str:
    try:
        stat = Path(path).stat()
    except OSError:
        return f"{path} -"
    return f"{path} {stat.st_ino} {stat.st_mtime_ns} {stat.st_size}"


def _without_those_inside(paths: Iterable[str]) -> Iterator[str]:
    """The paths without those that lie in a folder among them."""
    found = set(paths)
    return (path for path in found if not found & set(map(str, Path(path).parents)))
