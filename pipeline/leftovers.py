"""What killed runs leave behind, taken away before the next one starts; and one run at a time in a folder."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apo_bench.core.errors import ApoBenchError, OutputError
from apo_bench.core.layout import OUT, REPORT, STORE
from apo_bench.core.processes import SCRATCH, has_ended

PARTIAL = re.compile(r"\.(.+)\.partial|(dvc\.lock)\.partial")
"""Names of outputs that are being written, see `apo_bench.core.files`."""
TRANSFER = re.compile(r".*\.[\w-]{22}\.tmp")
"""Names that DVC gives to what it is copying."""
OWN_SCRATCH = re.compile(rf"{SCRATCH}(\d+)-.*")
FOLDERS = (OUT, REPORT, STORE)
"""What stages write to, below the folder of a profile."""


class OtherRunError(ApoBenchError):
    """Another run is at work in the same folder."""


@contextmanager
def one_run(tmp_dir: Path) -> Iterator[None]:
    """Keeps other runs out of the current folder for as long as the block lasts; the kernel forgets it with the process.

    Args:
        tmp_dir: DVC's folder of locks.

    Raises:
        OtherRunError: another run is there.
        OutputError: the lock cannot be written.
    """
    file = tmp_dir / f"repro-{hashlib.sha256(os.fsencode(Path.cwd())).hexdigest()[:16]}.lock"
    try:
        lock = file.open("a+")
    except OSError as error:
        raise OutputError(f"{file}: cannot be written ({error.strerror}); a run keeps others out by it") from error
    with lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            other = lock.read().strip() or "unknown"
            raise OtherRunError(f"another run is at work in this folder, process {other}; wait for its end and run again") from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def take_away(repo: Any) -> str:
    """Mends DVC's locks and removes what killed runs left in the current folder, DVC's cache and among the temporary files.

    Args:
        repo: DVC's.

    Returns:
        What was done, in words; "" if nothing was there.

    Raises:
        OutputError: it cannot be removed.
    """
    try:
        with repo.lock:  # whoever writes to the cache holds it
            mended, held = _mend_locks(Path(repo.tmp_dir), bool(repo.config["core"].get("hardlink_lock")))
            left = [*_partial(held), *_transfers(repo), *_unrecorded(repo), *_scratch()]
            for path in left:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{error.filename}: left by a killed run, and cannot be removed ({error.strerror}); remove it") from error
    removed = f"removed {len(left)} unfinished files and folders of a killed run, {left[0]} among them" if left else ""
    return "; ".join(filter(None, [mended, removed]))


def _mend_locks(tmp_dir: Path, hardlink: bool) -> tuple[str, set[Path]]:
    """Takes entries of ended processes out of DVC's file of locks, and a file that was cut short away.

    Returns:
        What was done, "" if nothing, and the paths that living processes write.
    """
    from dvc.lock import make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, SCHEMA
    from voluptuous import Invalid

    file = tmp_dir / RWLOCK_FILE
    with make_lock(str(tmp_dir / RWLOCK_LOCK), tmp_dir=str(tmp_dir), hardlink_lock=hardlink, wait=True):  # so nobody writes the file
        if not file.exists():
            return "", set()
        try:
            locks = SCHEMA(json.loads(file.read_bytes()))
        except (ValueError, RecursionError, Invalid):
            file.unlink()
            return f"{file} was cut short when a run was killed, and is made anew", set()
        written = file.stat().st_mtime
        write = {path: info for path, info in locks["write"].items() if info and not has_ended(info["pid"], written)}
        readers = {path: [info for info in infos if not has_ended(info["pid"], written)] for path, infos in locks["read"].items()}
        living = {"write": write, "read": {path: infos for path, infos in readers.items() if infos}}
        if living == locks:
            return "", set(map(Path, write))
        file.write_text(json.dumps(living), encoding="utf-8")
        return f"{file}: locks of a killed run released", set(map(Path, write))


def _partial(held: set[Path]) -> list[Path]:
    """Unfinished outputs that nobody writes any more."""
    found = [path for path in Path().glob("*.partial") if PARTIAL.fullmatch(path.name)]
    for top in FOLDERS:
        for folder, folders, files in os.walk(top):
            partial = [name for name in (*folders, *files) if PARTIAL.fullmatch(name) or TRANSFER.fullmatch(name)]
            folders[:] = [name for name in folders if name not in partial]
            found += [Path(folder, name) for name in partial]
    return [path for path in found if not any(_output(path).is_relative_to(one) or one.is_relative_to(_output(path)) for one in held)]


def _output(path: Path) -> Path:
    """What an unfinished output was to become."""
    name = PARTIAL.fullmatch(path.name)
    return (path.with_name(name[1] or name[2]) if name else path.parent).absolute()


def _transfers(repo: Any) -> list[Path]:
    """What DVC was copying into its cache."""
    top = Path(repo.cache.local.path).parents[1]
    return [Path(folder, name) for folder, _, files in os.walk(top) for name in files if TRANSFER.fullmatch(name)]


def _unrecorded(repo: Any) -> list[Path]:
    """Folders of DVC's run cache that had no entry yet when their run was killed; DVC takes for granted that each has one."""
    folders = Path(repo.stage_cache.cache_dir).glob("*/*/")
    return [folder for folder in folders if all(TRANSFER.fullmatch(file.name) for file in folder.iterdir())]


def _scratch() -> list[Path]:
    """Our temporary folders whose processes have ended."""
    found = []
    for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        name = OWN_SCRATCH.fullmatch(path.name)
        status = path.lstat() if name else None
        if name and status and status.st_uid == os.getuid() and has_ended(int(name[1]), status.st_mtime):
            found.append(path)
    return found
