"""Params for the tests of what stages take, and of what they say they took."""

from apo_bench.config.params import Params


def with_engines(params: Params, device: str = "cuda", sampling: str = "in_process", training: str = "in_process") -> Params:
    """The params on another device and with other engines: 2 x 3 devices to sample, 4 ranks to train."""
    vllm = params.engines.samplers["vllm"]
    engines = params.engines.model_copy(
        update={
            "sampling": sampling,
            "training": training,
            "samplers": params.engines.samplers | {"vllm": vllm.model_copy(update={"tensor_parallel": 2, "data_parallel": 3})},
            "deepspeed": params.engines.deepspeed.model_copy(update={"num_processes": 4}),
        }
    )
    return params.model_copy(update={"compute": params.compute.model_copy(update={"device": device}), "engines": engines})
