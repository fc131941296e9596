"""dvc.lock, written for many stages at a time: after each one it would take longer than small stages do, in a large profile."""

import time
from pathlib import Path
from typing import Any

Entry = dict[str, Any]
"""The name of a stage, and what dvc.lock holds of it."""
LOCK_FILE = Path("dvc.lock")
LOCK_SHARE = 0.05
"""Share of the time that may go into writing dvc.lock. What a kill keeps out of it, DVC's run cache still knows."""


class LockFile:
    """dvc.lock, with the entries that it still lacks; nobody else writes it meanwhile."""

    def __init__(self) -> None:
        self._content: Entry | None = None
        self._is_behind = False
        self._next = 0.0

    def add(self, entry: Entry) -> None:
        """Takes the entry of a stage that has run."""
        if self._content is None:
            from dvc.utils.serialize import load_yaml

            self._content = {"schema": "2.0", "stages": {}, **(load_yaml(LOCK_FILE) if LOCK_FILE.exists() else {})}
        self._content["stages"] |= entry
        self._is_behind = True

    def write_in_time(self) -> None:
        """Writes if so far no more than `LOCK_SHARE` of the time has gone into it."""
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Writes what is lacking; whoever reads the file meanwhile finds the old one or the new one."""
        if not self._is_behind:
            return
        from dvc.utils.serialize import dump_yaml

        started = time.monotonic()
        partial = LOCK_FILE.with_name("dvc.lock.partial")
        dump_yaml(partial, self._content)
        partial.replace(LOCK_FILE)
        self._is_behind = False
        self._next = time.monotonic() + (time.monotonic() - started) / LOCK_SHARE
