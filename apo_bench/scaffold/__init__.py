"""`apo-bench new-method` and `new-reward-model`: the files of a new one, runnable at once; of a method also those that bring it in from an
installed package."""

import dataclasses
import keyword
import re
from pathlib import Path
from typing import Any

import jinja2

import apo_bench
from apo_bench.config.params import read_params
from apo_bench.config.plugins import build_method, method_class
from apo_bench.core.errors import ConfigError
from apo_bench.core.files import write_text
from apo_bench.core.packages import code_sha256
from apo_bench.methods.base import Hyperparameters, Method
from apo_bench.scaffold.sections import with_section

SIMPLEST = "rjs"
"""What a new method is a copy of, and whose section it starts with."""
NOT_NAMES = ("all", "base", "oracle", "base_after_golden", "player")
"""What a reward model cannot be called, as it means another one, or the interface."""
SHARED = [field.name for field in dataclasses.fields(Hyperparameters)]
Sections = dict[str, dict[str, Any]]
"""The sections of methods in params.yaml."""
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("apo_bench", "scaffold"), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
)


def new_method(name: str, params_file: Path) -> list[str]:
    """Writes the files of a method and its section of `params_file`.

    Args:
        name: of a new method, or the dotted name of a module of an installed package.
        params_file: params.yaml of a profile of this repository.

    Returns:
        What was written and what to edit, in lines.

    Raises:
        ConfigError: the name cannot be one, is taken, or names no method; params.yaml is wrong, or of another copy of the repository than
            this code.
    """
    is_dotted = "." in name
    if is_dotted and not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name, re.ASCII):
        raise ConfigError(f"{name}: not the dotted name of a module")
    short = name.rpartition(".")[2]
    if not re.fullmatch(r"[a-z][a-z0-9_]*", short) or keyword.iskeyword(short) or short == "base":
        raise ConfigError(f"{name}: {short!r} cannot name a method; take a-z, 0-9 and _, first a letter, no word of Python")
    params = read_params(params_file)
    if SIMPLEST not in params.methods:
        raise ConfigError(f"{params_file}: no section methods.{SIMPLEST}, which a new section begins as a copy of")
    root = _own_root(params_file, params.root)
    write = _use_package if is_dotted else _begin
    return write(name, root, params_file, params.methods)


def load_installed(module: str, sections: Sections) -> Method:
    """The method of a module of an installed package, with its section, or with what its section would be at first.

    Raises:
        ConfigError: there is no such module, or no method in it, or a hyperparameter is wrong or has no value.
    """
    name, found = module.rpartition(".")[2], method_class(module)
    return build_method(found, name, sections[name] if name in sections else first_section(found, module, sections))


def first_section(found: type[Method], module: str, sections: Sections) -> dict[str, Any]:
    """What all methods need as the simplest has it, and the method's own hyperparameters at their defaults."""
    own = [field for field in dataclasses.fields(found.Hyperparameters) if field.name not in SHARED]
    without = [field.name for field in own if field.default is dataclasses.MISSING]
    if without:
        raise ConfigError(f"{module}: no default for {', '.join(without)}; give one in {found.Hyperparameters.__name__}")
    return {name: sections[SIMPLEST][name] for name in SHARED} | {field.name: field.default for field in own}


def _begin(name: str, root: Path, params_file: Path, sections: Sections) -> list[str]:
    """A method that does what the simplest does."""
    files = {
        "method.py.j2": (root / f"apo_bench/methods/{name}.py", "edit select and loss, their source and departures"),
        "test.py.j2": (root / f"tests/methods/test_{name}.py", "edit: a loss worked by hand"),
        "page.md.j2": (root / f"docs/methods/{name}.md", "edit: formula, source, departures, metrics, settings"),
    }
    values = {key: sections[SIMPLEST][key] for key in SHARED}
    edits = _write(name, root, params_file, files, "methods", values)
    return [
        f"new-method: {name} is a copy of {SIMPLEST} so far; wrote",
        *edits,
        f"  {params_file}: methods.{name}, edit: its own hyperparameters, if any",
        *_next_steps(name),
    ]


def new_reward_model(name: str, params_file: Path) -> list[str]:
    """Writes the files of a reward model that does what RM_base does, and its section of `params_file`.

    Args:
        name: of a new reward model.
        params_file: params.yaml of a profile of this repository.

    Returns:
        What was written and what to edit, in lines.

    Raises:
        ConfigError: the name cannot be one, or is taken; params.yaml is wrong, or of another copy of the repository than this code.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or name in NOT_NAMES:
        raise ConfigError(f"{name}: {name!r} cannot name a reward model; take a-z, 0-9 and _, first a letter, no word of Python")
    params = read_params(params_file)
    root = _own_root(params_file, params.root)
    files = {
        "reward_model.py.j2": (
            root / f"apo_bench/reward_models/{name}.py",
            "edit trains_on, lessons and the losses, source and departures",
        ),
        "reward_test.py.j2": (root / f"tests/reward_models/test_{name}.py", "edit: what it trains on, a loss worked by hand"),
        "reward_page.md.j2": (root / f"docs/reward_models/{name}.md", "edit: formula, what it trains on, source, departures, settings"),
    }
    edits = _write(name, root, params_file, files, "reward", params.base_reward.model_dump())
    return [
        f"new-reward-model: {name} is RM_base by another name so far; wrote",
        *edits,
        f"  {params_file}: reward.{name}, edit: its own settings, if any",
        f"then `apo-bench check-reward-model {name}`, add {name} to run.reward_models, sft_start_reward_models and "
        "retrained_reward_models; `dvc status dvc.yaml`, `make repro`",
    ]


def _own_root(params_file: Path, root_key: str) -> Path:
    """The repository of a profile, which must be the one that this code is of."""
    root = params_file.absolute().parent / root_key
    if not (root / "apo_bench").is_dir() or not (root / "apo_bench").samefile(Path(apo_bench.__file__).parent):
        raise ConfigError(f"{params_file}: its code is in {root.resolve()}, this is {Path(apo_bench.__file__).parents[1]}; run its own")
    return root


def _write(name: str, root: Path, params_file: Path, files: dict[str, tuple[Path, str]], top: str, values: dict[str, Any]) -> list[str]:
    """Renders each template to its file and adds the section; all or, if a name is taken, nothing. Returns what to edit, in lines."""
    for path, _ in files.values():
        if path.exists():
            raise ConfigError(f"{name}: {path.relative_to(root)} exists; choose another name, or delete it")
    text = with_section(params_file, top, name, values)
    class_name = "".join(part.capitalize() for part in name.split("_"))
    words = {"name": name, "title": name.upper(), "constant": name.upper(), "class_name": class_name}
    for template, (path, _) in files.items():
        write_text(path, _TEMPLATES.get_template(template).render(words))
    write_text(params_file, text)
    return [f"  {path.relative_to(root)}: {edit}" for path, edit in files.values()]


def _use_package(module: str, root: Path, params_file: Path, sections: Sections) -> list[str]:
    """The file that imports a method of a package, and its section; where both are there, only the checksum."""
    name = module.rpartition(".")[2]
    path = root / f"apo_bench/methods/{name}.py"
    if path.exists() and f"from {module} import METHOD" not in path.read_text(encoding="utf-8"):
        raise ConfigError(f"{name}: {path.relative_to(root)} exists and is not {module}; rename the module, or delete the file")
    method = load_installed(module, sections)
    text = None if name in sections else with_section(params_file, "methods", name, first_section(type(method), module, sections))
    write_text(path, _TEMPLATES.get_template("pointer.py.j2").render(module=module, checksum=code_sha256(module)))
    if text is None:
        return [f"new-method: {path.relative_to(root)} has the checksum of {module} as it is now; what used it runs again"]
    write_text(params_file, text)
    return [f"new-method: {name} is {module}; wrote", f"  {path.relative_to(root)}", f"  {params_file}: methods.{name}", *_next_steps(name)]


def _next_steps(name: str) -> list[str]:
    return [f"then `apo-bench check-method {name}`, add {name} to run.methods in params.yaml, `dvc status dvc.yaml`, `make repro`"]
