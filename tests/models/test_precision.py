"""Which processors multiply bfloat16 faster than float32."""

import pytest

from apo_bench.models import precision

PROCESSORS = {
    "AMD Zen 4": ({"cpu_name": "AMD EPYC 9654 96-Core Processor", "avx512_bf16": True}, True),
    "AMD Zen 3": ({"cpu_name": "AMD EPYC 7763 64-Core Processor", "avx512_bf16": False}, False),
    "Intel with AMX": ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, True),
    "Intel whose AMX is switched off": ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, False),
    "ARM": ({"architecture": "aarch64", "bf16": True}, True),
    "unknown": ({}, False),
}


@pytest.mark.parametrize(("capabilities", "is_fast"), PROCESSORS.values(), ids=PROCESSORS)
def test_bfloat16_is_taken_where_it_is_faster(monkeypatch, compute, capabilities, is_fast):
    monkeypatch.setattr(precision.torch.cpu, "get_capabilities", lambda: capabilities)
    assert precision.is_bfloat16_fast("cpu") is is_fast
    dtype = precision.reduced_dtype(compute.model_copy(update={"dtype": "auto"}))
    assert dtype is (precision.torch.bfloat16 if is_fast else precision.torch.float32)
