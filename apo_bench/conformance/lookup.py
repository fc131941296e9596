"""Where `apo-bench check-method` and `check-reward-model` find what they try, and its settings."""

from pathlib import Path

from apo_bench.config.params import Params, read_params
from apo_bench.config.plugins import load_method, load_reward_model_player
from apo_bench.core.errors import ConfigError
from apo_bench.methods.base import Method
from apo_bench.reward_models.player import RewardModelPlayer
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
    file = _file_with(params_file, params, "methods", name)
    try:
        found: Method = load_method(name, read_params(file).methods)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
    return found


def find_reward_model(name: str, params_file: Path) -> RewardModelPlayer:
    """The reward model `name` with its settings; arguments and errors as those of `find_method`."""
    file = _file_with(params_file, read_params(params_file), "reward", name)
    try:
        found: RewardModelPlayer = load_reward_model_player(name, read_params(file).reward)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
    return found


def _file_with(params_file: Path, params: Params, top: str, name: str) -> Path:
    """The params.yaml that has a section: this one or, if it lacks it, the first of a profile; this one if none has it."""
    profiles = sorted((params_file.parent / params.root / "profiles").glob("*/params.yaml"))
    having = (file for file in (params_file, *profiles) if name in getattr(read_params(file), top))
    return next(having, params_file)
