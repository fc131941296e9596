"""dvc.lock: which stage made what, from what, with which params."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from apo_bench.core.errors import DataError, MissingInputError

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
        sampled = [self._outs[path][0] for path in read if path in self._outs and self._outs[path][0].startswith("sample")]
        return {name: self.stages[name] for name in dict.fromkeys([*sampled, *names])}

    def _out(self, path: Path) -> tuple[str, str]:
        try:
            return self._outs[Path(path).as_posix()]
        except KeyError as error:
            raise MissingInputError(f"{self.path}: no stage made {path}; run it (dvc repro) first") from error


def flat_params(entries: dict[str, Any]) -> dict[str, str]:
    """The params that stages were run with, flat."""
    flat: dict[str, str] = {}
    for entry in entries.values():
        for section in entry.get("params", {}).values():
            for key, value in section.items():
                top, *rest = key.split(".")
                _flatten(".".join([SECTIONS[top], *rest[1:]]) if top in SECTIONS and rest else key, value, flat)
    return flat


def _flatten(key: str, value: Any, flat: dict[str, str]) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _flatten(f"{key}.{name}", inner, flat)
    else:
        flat[key] = value if isinstance(value, str) else json.dumps(value)


def sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
