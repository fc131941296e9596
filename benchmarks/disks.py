"""Runs a small run on disks that are full, out of inodes or read-only, then gives them room, and looks at what was said and made.

    sudo python -m benchmarks.disks [--places out report mlflow .dvc/cache .dvc/tmp]

Each place in turn is a file system of its own (tmpfs, so root's rights are needed), with half the room that a calm run takes there. The run
that ends for want of it must say so without a traceback; the next one, with room, must make what a calm run makes and leave nothing else.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.small_run import MAX_SECONDS, TRACEBACK, Made, clear, explanations, faults_at_the_end, make_workspace, start

PLACES = ("out", "report", "mlflow", ".dvc/cache", ".dvc/tmp")
KINDS = ("full", "no inodes", "read-only")
PAGE = 4096
ROOMY = "rw,size=2g,nr_inodes=1000000"


class Disks:
    """A folder in which a small run meets small disks."""

    def __init__(self, folder: Path) -> None:
        """Runs it once to the end, for what it makes and the room it takes."""
        self.folder = make_workspace(folder)
        before = {place: _room(folder / place) for place in PLACES}
        if self._run():
            raise SystemExit(self._said())
        self.expected = Made.by(folder)
        self.room = {place: tuple(map(_between, before[place], _room(folder / place))) for place in PLACES}
        clear(folder)

    def _run(self) -> int:
        return start(self.folder).wait(MAX_SECONDS)

    def _said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def meet(self, place: str, kind: str) -> tuple[list[str], list[str]]:
        """What a run says that meets the disk, and what is wrong with that or with what the next run makes, on the disk with room."""
        pages, inodes = self.room[place]
        with _disk(self.folder / place) as remount:
            used = os.statvfs(self.folder / place)  # .dvc/tmp is never empty
            size = max(pages * PAGE, (used.f_blocks - used.f_bfree) * used.f_frsize)
            inodes = max(inodes, used.f_files - used.f_ffree)
            remount({"full": f"size={size}", "no inodes": f"nr_inodes={inodes}", "read-only": "ro"}[kind])
            status, said = self._run(), self._said()
            told = explanations(said)
            faults = [f"a traceback: {said[said.index(TRACEBACK) - 200 :][:3000]}"] if TRACEBACK in said else []
            faults += [] if status in (0, 1) else [f"ended with {status}"]
            faults += [] if told or status == 0 else [f"said nothing: {said[-600:]}"]
            remount(ROOMY)
            if self._run():
                faults.append(f"the next run ends with: {self._said()[-1000:]}")
            else:
                faults += faults_at_the_end(self.folder, self.expected)
        clear(self.folder)
        return told, faults


def _room(folder: Path) -> tuple[int, int]:
    """Pages and inodes of a folder, itself included."""
    found = [folder, *folder.rglob("*")] if folder.exists() else [folder]
    return sum(-(-path.stat().st_size // PAGE) for path in found if path.is_file()), len(found)


def _between(before: int, after: int) -> int:
    return max(before + (after - before) // 2, 1)


@contextmanager
def _disk(place: Path) -> Iterator[Callable[[str], None]]:
    """A file system with what was in the place, and a function that changes its limits."""

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)

    with TemporaryDirectory() as copy:
        place.mkdir(parents=True, exist_ok=True)
        shutil.copytree(place, copy, dirs_exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", ROOMY, "disk", place], check=True)
        try:
            shutil.copytree(copy, place, dirs_exist_ok=True)
            yield remount
        finally:
            subprocess.run(["umount", "--lazy", place], check=True)


def main() -> int:
    """Prints a row a disk; returns 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--places", nargs="+", choices=PLACES, default=PLACES)
    options = parser.parse_args()
    num_wrong = 0
    with TemporaryDirectory(prefix="disks-") as folder:
        disks = Disks(Path(folder))
        print("| place | disk | lines | wrong |\n|---|---|---:|---|", flush=True)
        for place in options.places:
            for kind in KINDS:
                told, faults = disks.meet(place, kind)
                num_wrong += bool(faults)
                print(f"| {place} | {kind} | {len(told)} | {'; '.join(faults).partition(chr(10))[0] or 'nothing'} |", flush=True)
                print("\n".join([f"{place}, {kind}:", *told, *faults]), file=sys.stderr, flush=True)
    return int(num_wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
