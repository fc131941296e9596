"""Who may import whom: each layer only itself and those below. Read from the source, so that lazy imports count too."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [{"core"}, {"config", "losses"}, {"methods", "models", "data", "chat"}]
"""From the bottom up; above them everything else of the package, and on top pipeline/."""
ABOVE, PIPELINE = len(LAYERS), len(LAYERS) + 1
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


def layer(dotted: str) -> int:
    """The layer of a module by its dotted name."""
    top, *rest = dotted.split(".")
    if top == "pipeline":
        return PIPELINE
    if not rest:
        return 0  # the package itself only sets the environment
    return next((number for number, names in enumerate(LAYERS) if rest[0] in names), ABOVE)


def test_the_tables_name_what_exists():
    assert all((ROOT / "apo_bench" / name).is_dir() or (ROOT / "apo_bench" / f"{name}.py").is_file() for names in LAYERS for name in names)
    assert len(FILES) > 20


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_only_from_its_own_layer_and_below(file):
    own = layer(".".join(file.with_suffix("").parts))
    upward = {name for name in imported(file) if name.split(".")[0] in ("apo_bench", "pipeline") and layer(name) > own}
    assert not upward


@pytest.mark.parametrize("file", [file for file in FILES if file.parts[1] in ("methods", "losses")], ids=str)
def test_methods_and_losses_are_pure(file):
    tops = {name.split(".")[0] for name in imported(file)}
    assert not tops & {"transformers", "mlflow", "yaml", "tokenizers", "datasets", "pathlib", "json"}


def test_only_tracking_imports_mlflow():
    users = {str(file) for file in FILES if "mlflow" in {name.split(".")[0] for name in imported(file)}}
    assert users == {f"apo_bench/tracking/{name}.py" for name in ("store", "database", "model_files")}
