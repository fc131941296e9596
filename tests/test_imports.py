"""Who may import whom: each room of the package itself and those below. Read from the source, so that lazy imports count too."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [
    {"core", "losses", "methods"},
    {"config", "metrics"},
    {"chat", "provenance", "scaffold"},
    {"data"},
    {"exchange", "models", "sources"},
    {"engines", "evaluation", "fetch", "reward_models"},
    {"claims", "conformance", "judge", "samplers", "scheduling", "training"},
    {"game", "stages"},
    {"comparison", "plan"},
    {"report", "tracking"},
    {"cli"},
]
"""Rooms from the bottom up; those side by side do not know one another. On top of all stands pipeline/."""
BY_NAME = {"apo_bench/config/plugins.py", "apo_bench/core/stage.py", "pipeline/stage.py"}
"""Files that import what a string names, which stands in no import: sources, samplers, methods and reward models, and stages."""
FILES = sorted(path.relative_to(ROOT) for folder in ("apo_bench", "pipeline") for path in (ROOT / folder).rglob("*.py"))


def imported(file: Path) -> set[str]:
    """The dotted names of all modules that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def room(dotted: str) -> str:
    """The room of a module by its dotted name; the package itself only sets the environment."""
    top, *rest = dotted.split(".")
    return top if top == "pipeline" or not rest else rest[0]


def layer(name: str) -> int:
    """The layer of a room."""
    outer = {"apo_bench": -1, "pipeline": len(LAYERS)}
    return outer[name] if name in outer else next(number for number, names in enumerate(LAYERS) if name in names)


def modules(file: Path) -> set[str]:
    """The modules of this project that a file imports."""
    known = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in FILES}
    return {name for name in imported(file) if name in known}


def test_every_room_stands_in_one_layer():
    rooms = {path.stem for path in (ROOT / "apo_bench").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert sorted(name for names in LAYERS for name in names) == sorted(rooms - {"__init__"})


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_only_from_its_own_room_and_those_below(file):
    own = room(".".join(file.with_suffix("").parts))
    found = {name: room(name) for name in modules(file)}
    assert not {name for name, other in found.items() if other != own and layer(other) >= layer(own)}


def test_no_modules_import_one_another():
    names = {".".join(file.with_suffix("").parts).removesuffix(".__init__"): modules(file) for file in FILES}
    packages = {name for name in names if (ROOT / Path(*name.split("."))).is_dir()}  # that one imports with what is in them
    try:
        TopologicalSorter({name: found - packages - {name} for name, found in names.items()}).prepare()
        circle = []
    except CycleError as error:
        circle = error.args[1]
    assert circle == []


def test_what_is_imported_by_name_is_known():
    found = {str(file) for file in FILES if "import_module(" in (ROOT / file).read_text(encoding="utf-8")}
    assert found == BY_NAME


@pytest.mark.parametrize("file", [file for file in FILES if file.parts[1] in ("methods", "losses")], ids=str)
def test_methods_and_losses_are_pure(file):
    tops = {name.split(".")[0] for name in imported(file)}
    assert not tops & {"transformers", "mlflow", "yaml", "tokenizers", "datasets", "pathlib", "json"}


def test_only_tracking_imports_mlflow():
    users = {str(file) for file in FILES if "mlflow" in {name.split(".")[0] for name in imported(file)}}
    assert users == {f"apo_bench/tracking/{name}.py" for name in ("store", "database", "model_files")}
