"""Where `apo-bench check-method` finds a method and its hyperparameters."""

from pathlib import Path

from apo_bench.core.config import load_method, read_params
from apo_bench.core.errors import ConfigError
from apo_bench.methods.base import Method
from apo_bench.scaffold import load_installed


def find_method(name: str, params_file: Path) -> Method:
    """The method `name` with its hyperparameters.

    Args:
        name: of a method of this repository, or the dotted name of a module of an installed package.
        params_file: params.yaml of a profile. If it lacks the method's section, that of the first profile by name that has it is taken.

    Raises:
        ConfigError: there is no such method, no profile has its section, or a hyperparameter is wrong.
    """
    params = read_params(params_file)
    if "." in name:
        return load_installed(name, params.methods)
    profiles = sorted((params_file.parent / params.root / "profiles").glob("*/params.yaml"))
    for file in (params_file, *profiles):
        sections = read_params(file).methods
        if name in sections:
            break
    else:
        file, sections = params_file, params.methods  # `load_method` says what is missing
    try:
        found: Method = load_method(name, sections)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
    return found
