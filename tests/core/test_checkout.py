"""With two copies of the repository and one environment, a stage runs the code of the copy that its profile belongs to."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TELLS = '''
from pathlib import Path
from apo_bench.core.stage import Files, Stage
STAGE = Stage()
def files() -> Files:
    return Files({}, {})
def main(word: str) -> tuple[str, Path]:
    """Says where its code lies."""
    import apo_bench, pipeline
    return f"{pipeline.__file__} {apo_bench.__file__} {word}", Path("nowhere")
'''


@pytest.fixture
def copy(tmp_path):
    """A second copy, with a profile and a stage of its own."""
    for package in ("apo_bench", "pipeline"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pipeline/stages/tells.py").write_text(TELLS)
    (tmp_path / "profiles/x").mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    text = (ROOT / "params.yaml").read_text().replace("\nroot: .", "\nroot: ../..")
    (tmp_path / "profiles/x/params.yaml").write_text(text)
    return tmp_path


def run(folder, *arguments, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("profile", [".", "profiles/x"])
def test_stages_import_from_root(copy, profile):
    done = run(copy / profile, "-m", "pipeline", "tells", "--word", "two words")
    assert done.returncode == 0, done.stderr
    assert f"{copy}/pipeline/__init__.py {copy}/apo_bench/__init__.py two words" in done.stdout


def test_a_python_that_cannot_be_turned_to_root_is_refused(copy):
    """Isolated mode reads no PYTHONPATH; a loop of restarts would be worse than a line."""
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]; sys.argv = ['pipeline', 'tells', '--word', 'x']; "
        "import pipeline.__main__ as m; sys.exit(m.main())"
    )
    done = run(copy / "profiles/x", "-I", "-c", code, APO_BENCH_CHECKOUT=str(copy))
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        == f"pipeline: params.yaml: root is {copy}, but Python imports from "
        + ", ".join([str(ROOT / "apo_bench"), str(ROOT / "pipeline")])
        + f"; start Python with PYTHONPATH={copy}"
    )


def test_without_code_below_root_what_is_installed_runs(tmp_path):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text().replace("\nroot: .", "\nroot: ../.."))
    done = run(tmp_path, "-m", "pipeline", "nothing")
    assert done.returncode == 2 and "no stage 'nothing'" in done.stderr
