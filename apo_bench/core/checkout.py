"""The code that runs is the code that DVC hashes: that of the checkout that params.yaml calls `root`."""

import os
import sys
from pathlib import Path

VARIABLE = "APO_BENCH_CHECKOUT"
"""Names the checkout in the environment of a process that was started anew for it."""
PACKAGES = ("apo_bench", "pipeline")


def use_code_of_root(module: str) -> str:
    """Starts `python -m MODULE` anew with the packages of the profile's `root`, if those in use are others.

    They are others in a copy of the repository that shares an environment with the one that is installed there: a queued experiment of
    DVC's, a git worktree, a second clone. Where `root` holds no packages, nothing is hashed, and what is installed may run.

    Args:
        module: of this process.

    Returns:
        Why this cannot be, "" if the code is that of `root`.
    """
    root = _root(Path("params.yaml"))
    if root is None or all(_place(package).is_relative_to(root) for package in PACKAGES):
        return ""
    if os.environ.get(VARIABLE) == str(root):
        places = ", ".join(str(_place(package).parent) for package in PACKAGES)
        return f"params.yaml: root is {root}, but Python imports from {places}; start Python with PYTHONPATH={root}"
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), VARIABLE: str(root)}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], environment)


def _root(params: Path) -> Path | None:
    """The checkout that the params in the current folder name; None if there are none, or no packages in it."""
    here = Path(__file__).resolve().parents[2]
    try:
        if params.resolve().parent == here:  # the default profile, whose root is its own folder: spares an import
            return here
        from yaml import YAMLError, safe_load

        try:
            content = safe_load(params.read_text(encoding="utf-8"))
        except YAMLError:  # told when the params are read in earnest
            return None
        root = (params.parent / str(content["root"])).resolve()
    except (OSError, UnicodeDecodeError, TypeError, KeyError):
        return None
    return root if all((root / package / "__init__.py").is_file() for package in PACKAGES) else None


def _place(package: str) -> Path:
    file = sys.modules[package].__file__ if package in sys.modules else None
    return Path(file or __file__).resolve()
