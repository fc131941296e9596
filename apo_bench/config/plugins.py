"""What params name and a file is: sources, sampling engines, methods and reward models, each found by its name and built of its section."""

import importlib
from pathlib import Path
from typing import Any, cast

from apo_bench.config.compute_sections import Sampler
from apo_bench.config.data_sections import Data
from apo_bench.config.validation import near, validated
from apo_bench.core.errors import ConfigError
from apo_bench.core.layout import BASE, TEST_REWARD_MODEL
from apo_bench.core.packages import code_sha256

PLAYER = "player"
"""Key of a section of `reward` whose name is not that of its file."""
SOURCES, SAMPLERS = "apo_bench.sources", "apo_bench.samplers"


def load_method(name: str, sections: dict[str, dict[str, Any]]) -> Any:
    """Imports the method `name` and builds it from its section of `sections`.

    Raises:
        ConfigError: there is no such method (the near names are given), no section, or a hyperparameter is wrong.
    """
    known = modules("apo_bench.methods", "base")
    if name not in known:
        raise ConfigError(f"methods: no method {name!r} in methods/;{near(name, known)} known: {', '.join(known)}")
    if name not in sections:
        raise ConfigError(f"methods.{name}: no such section; give its hyperparameters")
    return build_method(method_class(f"apo_bench.methods.{name}"), name, sections[name])


def modules(package: str, interface: str = "") -> list[str]:
    """The names of the plug-ins of a package, whose module `interface`, if it has one, says what they are."""
    folder = Path(next(iter(importlib.import_module(package).__path__)))
    return sorted(file.stem for file in folder.glob("*.py") if file.stem not in ("__init__", interface))


def source_class(name: Any) -> type[Data]:
    """The class of a source of data.

    Raises:
        ConfigError: there is no such source (the near names are given).
    """
    known = modules(SOURCES)
    if name not in known:
        raise ConfigError(
            f"prepare.source: found {name!r}, expected a file of sources/, one of {', '.join(known)};{near(str(name), known)}".rstrip(";")
        )
    return cast(type[Data], importlib.import_module(f"{SOURCES}.{name}").SOURCE)


def sampler_class(name: str) -> type[Sampler]:
    """The class of a sampling engine that there is."""
    return cast(type[Sampler], importlib.import_module(f"{SAMPLERS}.{name}").SAMPLER)


def load_reward_model_player(name: str, sections: dict[str, dict[str, Any]]) -> Any:
    """Imports the reward model of the section `name` and builds it; its file is called `player` there, or `name`.

    Raises:
        ConfigError: there is no such section or file (the near names are given), or a setting is wrong.
    """
    if name not in sections:
        raise ConfigError(f"reward.{name}: no such section;{near(name, sections)} found: {', '.join(sections)}")
    section = dict(sections[name])
    player = section.pop(PLAYER, BASE if name == TEST_REWARD_MODEL else name)
    found = reward_model_class(player, f"reward.{name}")
    return found(validated(found.Settings, section, f"reward.{name}"))


def reward_model_class(player: Any, where: str) -> Any:
    """The class of a file of `apo_bench.reward_models`; `where` asks for it.

    Raises:
        ConfigError: there is no such file.
    """
    known = modules("apo_bench.reward_models", "player")
    if player not in known:
        raise ConfigError(
            f"{where}: no reward model {player!r} in reward_models/;{near(str(player), known)} known: {', '.join(known)}; "
            "a section of another name says which it is by its key `player`"
        )
    return importlib.import_module(f"apo_bench.reward_models.{player}").REWARD_MODEL


def is_retrained(player: Any) -> bool:
    """Whether a reward model that was loaded is trained anew in each round."""
    return bool(importlib.import_module("apo_bench.reward_models.player").is_retrained(type(player)))


def method_class(module_name: str) -> Any:
    """The class that a module names by METHOD.

    Raises:
        ConfigError: there is no such module or class, or the code is another than the module has the checksum of.
    """
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"{module_name}: cannot be imported ({error}); install the package that is missing") from error
    found, base = getattr(module, "METHOD", None), importlib.import_module("apo_bench.methods.base").Method
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(f"{module_name}: METHOD is {found!r}, expected a class derived from apo_bench.methods.base.Method")
    pinned = getattr(module, "CODE_SHA256", None)
    if pinned is not None and pinned != code_sha256(found.__module__):
        source = found.__module__
        raise ConfigError(f"{module_name}: the code of {source} is not what it was; `apo-bench new-method {source}` takes it as it is now")
    return found


def build_method(found: Any, name: str, section: dict[str, Any]) -> Any:
    """An instance of a method's class with the hyperparameters of its section."""
    return found(validated(found.Hyperparameters, section, f"methods.{name}"))
