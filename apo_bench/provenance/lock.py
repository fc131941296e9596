"""dvc.lock: which stage made what, from what, with which params."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.core.layout import OWN, RESPONSES, SAMPLES, TIMES, is_in
from apo_bench.provenance.times import WALL, read_seconds

LOCK = Path("dvc.lock")
"""Beside params.yaml, in the folder of the profile."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C one reads the 3,000 lines of a lock file in a tenth of the time."""
SECTIONS = {"methods": "method", "references": "method", "reward": "reward"}
"""Sections of params.yaml with a subsection a name: `methods.dpo.beta` becomes `method.beta`, so that arms have the same keys."""


class Lock:
    """dvc.lock: which stage made what, from what."""

    def __init__(self, path: Path) -> None:
        """Reads `path`.

        Raises:
            MissingInputError: there is no such file.
            DataError: it is not a lock file of DVC.
        """
        self.path = Path(path)
        try:
            self.stages: dict[str, Any] = yaml.load(self.path.read_text(encoding="utf-8"), Loader=LOADER)["stages"]
            self._outs = {out["path"]: (name, out["md5"]) for name, entry in self.stages.items() for out in entry.get("outs", [])}
        except FileNotFoundError as error:
            raise MissingInputError(f"{path}: no such file; run the stages (dvc repro) first") from error
        except (yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{path}: not a lock file of DVC ({' '.join(str(error).split())}); run dvc repro") from error

    def md5(self, path: Path) -> str:
        """The md5 of an output, of a directory with DVC's `.dir`."""
        return self._out(path)[1]

    def stages_of(self, paths: Iterable[Path]) -> dict[str, Any]:
        """The entries of the stages that made `paths`, and of those that sampled what they read."""
        names = dict.fromkeys(self._out(path)[0] for path in paths)
        read = [dep["path"] for name in names for dep in self.stages[name].get("deps", [])]
        sampled = [self._outs[path][0] for path in read if path in self._outs and (is_in(path, SAMPLES) or is_in(path, RESPONSES))]
        return {name: _without_seconds(self.stages[name]) for name in dict.fromkeys([*sampled, *names])}

    def chain(self, paths: Iterable[Path]) -> dict[str, Any]:
        """The entries of the stages that made `paths`, of those that made what these read, and so on; the first to run comes first."""
        found: dict[str, Any] = {}
        self._walk([self._out(path)[0] for path in paths], found)
        return found

    def producer(self, path: str) -> tuple[str, str | None] | None:
        """The stage that made `path`, or a folder that it is in, and the md5 of `path` as it left it (None inside a folder)."""
        if path in self._outs:
            return self._outs[path]
        folder = next((parent.as_posix() for parent in Path(path).parents if parent.as_posix() in self._outs), None)
        return (self._outs[folder][0], None) if folder else None

    def folder(self, entry: dict[str, Any], kind: Path) -> Path | None:
        """Where a stage has left its outputs of a kind, `RESULTS` or `TIMES`, if it has any."""
        found = [out["path"] for out in entry.get("outs", []) if is_in(out["path"], kind)]
        return self.path.parent / found[0] if found else None

    def seconds(self, paths: Iterable[Path]) -> float:
        """Wall time of the stages of `stages_of` that leave their seconds: those that train, sample and score.

        Raises:
            MissingInputError: a stage's seconds are not there.
            DataError: they are broken.
        """
        files = [self.folder(self.stages[name], TIMES) for name in self.stages_of(paths)]
        return float(sum(read_seconds(file)[WALL] for file in files if file))

    def _walk(self, names: Iterable[str], found: dict[str, Any]) -> None:
        for name in names:
            if name not in found:
                made = (self.producer(dep["path"]) for dep in self.stages[name].get("deps", []))
                self._walk([producer[0] for producer in made if producer], found)
                found[name] = self.stages[name]

    def _out(self, path: Path) -> tuple[str, str]:
        try:
            return self._outs[Path(path).as_posix()]
        except KeyError as error:
            raise MissingInputError(f"{self.path}: no stage made {path}; run it (dvc repro) first") from error


def _without_seconds(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry without the output that differs in each run, so that equal work has an equal hash."""
    return {**entry, "outs": [out for out in entry.get("outs", []) if not is_in(out["path"], TIMES)]}


def flat_params(entries: dict[str, Any]) -> dict[str, str]:
    """The params that stages were run with, flat."""
    flat: dict[str, str] = {}
    for entry in entries.values():
        for section in entry.get("params", {}).values():
            for key, value in section.items():
                top, *rest = key.split(".")
                rest = rest[1:] if rest[:1] == [OWN] else rest
                _flatten(".".join([SECTIONS[top], *rest[1:]]) if top in SECTIONS and rest else key, value, flat)
    return flat


def _flatten(key: str, value: Any, flat: dict[str, str]) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _flatten(f"{key}.{name}", inner, flat)
    else:
        flat[key] = value if isinstance(value, str) else json.dumps(value)


def sha256(value: Any) -> str:
    """Of a value as JSON; objects count by their attributes."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=vars).encode()).hexdigest()
