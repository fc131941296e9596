"""Methods of installed packages: `apo_bench/methods/NAME.py` has their import and a checksum of the code, by which DVC sees changes."""

import hashlib
import importlib.util
from pathlib import Path

from apo_bench.core.errors import ConfigError


def code_sha256(module: str) -> str:
    """Of the Python files of the top-level package that a module is in.

    Raises:
        ConfigError: it is not installed.
    """
    package = module.partition(".")[0]
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ConfigError(f"{module}: no package {package} is installed; install it into this environment")
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    files = {file.relative_to(folder).as_posix(): file for folder in folders for file in folder.rglob("*.py")}
    if not folders and spec.origin:
        files[package] = Path(spec.origin)
    digest = hashlib.sha256()
    for name in sorted(files):
        content = files[name].read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
