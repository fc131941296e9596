"""A new method is runnable at once in a copy of the repository; the method of an installed package comes in by its dotted name."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import forked
import pytest

ROOT = Path(__file__).parents[2]
COPIED = ("apo_bench", "pipeline", "profiles", "docs/methods", "tests/methods", "dvc.yaml", "params.yaml", "pyproject.toml")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What of the repository a new method touches and needs."""
    folder = tmp_path / "copy"
    for name in COPIED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            skip = shutil.ignore_patterns("__pycache__", "out", "inputs", "mlflow", "report" if name == "profiles" else "")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=skip)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder for sys.path into which pip has installed the package of another author."""
    folder = tmp_path_factory.mktemp("packages")
    source = shutil.copytree(ROOT / "tests/fixtures/margin_package", folder / "source")  # setuptools builds in the source's folder
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(folder / "site")]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return folder / "site"


def run(folder: Path, *arguments: str, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs Python on the copy's own code."""
    return forked.run(folder, sys.executable, *arguments, code=folder, PYTHONPATH=str(site or ""), PYTHONDONTWRITEBYTECODE="1")


def apo_bench(folder: Path, *arguments: str, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    return run(folder, "-m", "apo_bench.cli", *arguments, site=site)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line in which a command refuses."""
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def section_of_rjs(params: str) -> str:
    return "  rjs:\n" + re.search(r"\n  rjs:\n((?:    .*\n)+)", params)[1]


def test_new_method_passes_its_test_and_the_kit_at_once(copy):
    before = (copy / "params.yaml").read_text()
    done = apo_bench(copy, "new-method", "my_own")
    assert done.returncode == 0, done.stderr
    for file in ("apo_bench/methods/my_own.py", "tests/methods/test_my_own.py", "docs/methods/my_own.md", "params.yaml"):
        assert f"  {file}: " in done.stdout and (copy / file).is_file()
    after = (copy / "params.yaml").read_text()
    section = section_of_rjs(before).replace("rjs", "my_own")
    assert section in after and after.replace(section, "") == before
    checked = apo_bench(copy, "check-method", "my_own")
    assert checked.returncode == 0 and checked.stdout.endswith("check-method: my_own passes 13 checks\n"), checked.stdout
    tested = run(
        copy, "-m", "pytest", "tests/methods/test_my_own.py", "tests/methods/test_every_method.py", "-k", "my_own or by_hand or select"
    )
    assert tested.returncode == 0, tested.stdout
    assert "apo_bench/methods/my_own.py exists; choose another name" in refusal(apo_bench(copy, "new-method", "my_own"))


def test_generated_files_are_as_tidy_as_ours(copy):
    assert apo_bench(copy, "new-method", "my_own").returncode == 0
    files = ["apo_bench/methods/my_own.py", "tests/methods/test_my_own.py"]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, *files], cwd=copy, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


BAD = ["My", "9lives", "a-b", "base", "class", "", "two words", "ünder", "margin_package.Margin"]
NOT_DOTTED = ["dpo/..", "margin_package..margin", ".margin", "../margin", "margin."]
TRY_ALL = """
import sys
from pathlib import Path
from apo_bench.core.errors import ConfigError
from apo_bench.scaffold import new_method
for name in sys.argv[1:]:
    try:
        print("wrote", new_method(name, Path("params.yaml")))
    except ConfigError as error:
        print(error)
"""


def test_bad_names_are_refused_in_a_line(copy):
    before = sorted(copy.rglob("*"))
    said = run(copy, "-c", TRY_ALL, *BAD, *NOT_DOTTED).stdout.splitlines()
    assert len(said) == len(BAD + NOT_DOTTED)
    for name, line in zip(BAD + NOT_DOTTED, said, strict=True):
        assert line.startswith(f"{name}: ") and ("cannot name a method" if name in BAD else "not the dotted name of a module") in line
    assert sorted(copy.rglob("*")) == before


def test_existing_names_are_refused_in_a_line(copy):
    assert "apo_bench/methods/dpo.py exists; choose another name" in refusal(apo_bench(copy, "new-method", "dpo"))
    (copy / "docs/methods/mine.md").write_text("mine")
    assert "docs/methods/mine.md exists" in refusal(apo_bench(copy, "new-method", "mine"))
    assert not (copy / "apo_bench/methods/mine.py").exists()


def test_method_of_an_installed_package(copy, site):
    assert apo_bench(copy, "check-method", "margin_package.margin", site=site).returncode == 0
    before = (copy / "params.yaml").read_text()
    done = apo_bench(copy, "new-method", "margin_package.margin", site=site)
    assert done.returncode == 0 and "new-method: margin is margin_package.margin; wrote" in done.stdout, done.stderr
    section = section_of_rjs(before).replace("rjs", "margin") + "    margin: 1.0\n"
    assert (copy / "params.yaml").read_text().replace(section, "") == before
    checked = apo_bench(copy, "check-method", "margin", site=site)
    assert checked.returncode == 0 and "passes 13 checks" in checked.stdout, checked.stdout
    assert "margin: cannot be imported (No module named 'margin_package'); install" in refusal(apo_bench(copy, "check-method", "margin"))


def test_changed_code_of_a_package_is_noticed_and_taken_on_request(copy, site, tmp_path):
    own = shutil.copytree(site, tmp_path / "site")
    assert apo_bench(copy, "new-method", "margin_package.margin", site=own).returncode == 0
    pointer = copy / "apo_bench/methods/margin.py"
    before, params = pointer.read_text(), (copy / "params.yaml").read_text()
    maths = own / "margin_package/maths.py"  # not the method's own module
    maths.write_text(maths.read_text() + "\n# changed\n")
    assert "the code of margin_package.margin is not what it was; `apo-bench new-method" in refusal(apo_bench(copy, "plan", site=own))
    done = apo_bench(copy, "new-method", "margin_package.margin", site=own)
    assert done.returncode == 0 and "has the checksum of margin_package.margin as it is now" in done.stdout, done.stderr
    assert pointer.read_text() != before and (copy / "params.yaml").read_text() == params
    assert apo_bench(copy, "check-method", "margin", site=own).returncode == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("margin_package.nothing", "margin_package.nothing: cannot be imported (No module named 'margin_package.nothing')"),
        ("margin_package.maths", "margin_package.maths: METHOD is None, expected a class derived from apo_bench.methods.base.Method"),
    ],
)
def test_dotted_names_without_a_method_are_refused_in_a_line(copy, site, name, said):
    assert said in refusal(apo_bench(copy, "new-method", name, site=site))


def test_only_in_the_folder_of_a_profile_of_this_copy(copy, tmp_path):
    done = forked.run(copy, sys.executable, "-P", "-m", "apo_bench.cli", "new-method", "mine")
    assert "its code is in" in refusal(done) and not (copy / "apo_bench/methods/mine.py").exists()
    (tmp_path / "empty").mkdir()
    done = forked.run(tmp_path / "empty", "apo-bench", "new-method", "mine")
    assert "params.yaml: no such file; run from the folder of a profile" in refusal(done)


def test_a_profile_gets_the_section_in_its_own_params(copy):
    done = forked.run(copy / "profiles/tiny-full", "apo-bench", "new-method", "mine", code=copy)
    assert done.returncode == 0, done.stderr
    assert "\n  mine:\n" in (copy / "profiles/tiny-full/params.yaml").read_text() and "mine" not in (copy / "params.yaml").read_text()
    assert (copy / "apo_bench/methods/mine.py").is_file()
