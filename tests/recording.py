"""Put into a copy of the code in the place of `load_params`: writes down which params a stage reads while it runs."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apo_bench.config.sections import Section

LOG = "params_read.log"
"""In the folder of the copy: a line a stage, its arguments, and a param that it reads."""
HOOK = "\nfrom apo_bench.config.recording import recorded\n\nload_params = recorded(load_params)\n"
"""What the copy's module of params ends with."""

_paths: dict[int, str] = {}
_kept: list[Section] = []
"""So that no other object gets the identity of one that is recorded."""
_seen: set[str] = set()
_stage: str | None = None


class Mapping(dict):
    """A mapping of params whose keys are read one by one."""

    def __init__(self, path: str, values: dict[str, Any]) -> None:
        super().__init__({key: _watched(f"{path}.{key}", value) for key, value in values.items()})
        self.path = path

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if not isinstance(value, Section):
            _note(f"{self.path}.{key}")
        return value

    def __iter__(self) -> Any:
        _note(self.path)
        return super().__iter__()

    def items(self) -> Any:
        _note(self.path)
        return super().items()


def install(copy: Path) -> None:
    """Has the copy of the code in a folder record what its stages read."""
    params = copy / "apo_bench/config/params.py"
    (params.parent / "recording.py").write_text(Path(__file__).read_text())
    params.write_text(params.read_text() + HOOK)


def recorded(load: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """The same params, watched from when they are checked on; nothing is recorded of what is no stage."""
    read, dump, copy = Section.__getattribute__, Section.model_dump, Section.model_copy

    def watched_read(self: Section, name: str) -> Any:
        value = read(self, name)
        path = _paths.get(id(self))
        if path is not None and name in type(self).model_fields and not isinstance(value, Section | Mapping):
            _note(f"{path}.{name}".lstrip("."))
        return value

    def whole(method: Callable[..., Any]) -> Callable[..., Any]:
        def noted(self: Section, *args: Any, **named: Any) -> Any:
            if path := _paths.get(id(self)):
                _note(path)
            return method(self, *args, **named)

        return noted

    def watched_load(path: Path) -> Any:
        global _stage
        params = load(path)
        _stage = _stage or _running()
        if _stage and not _kept:
            Section.__getattribute__ = watched_read
            Section.model_dump, Section.model_copy = whole(dump), whole(copy)
        return _watched("", params) if _stage else params

    return watched_load


def _watched(path: str, value: Any) -> Any:
    if isinstance(value, dict):
        return Mapping(path, value)
    if isinstance(value, Section):
        for name in type(value).model_fields:
            value.__dict__[name] = _watched(f"{path}.{name}".lstrip("."), value.__dict__[name])
        _kept.append(value)
        _paths[id(value)] = path
    return value


def _running() -> str | None:
    """The stage that this process runs."""
    frame = sys._getframe()
    while frame:
        if frame.f_code.co_name == "run_stage":
            return " ".join([frame.f_locals["name"], *frame.f_locals["arguments"]])
        frame = frame.f_back
    return None


def _note(path: str) -> None:
    if _stage and path not in _seen:
        _seen.add(path)
        with (Path(__file__).parents[2] / LOG).open("a") as log:
            log.write(f"{_stage}\t{path}\n")
