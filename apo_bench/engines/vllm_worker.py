"""A process that samples with vLLM: `python -m apo_bench.engines.vllm_worker`, started by `apo_bench.samplers.vllm`.

Reads a JSON object a line: first the engine's arguments, then jobs. Answers `{"ready": true}` when the engine stands; for each prompt of
a job, as it is finished, its index and the tokens of its responses; `{"done": true}` after a job; `{"error": ...}` before it gives up.
"""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from apo_bench.core.processes import die_with_parent


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answers jobs until there are no more."""

    def answer(**message: Any) -> None:
        print(json.dumps(message), file=answers, flush=True)

    try:
        engine = new_engine(json.loads(requests.readline()))
        answer(ready=True)
        for line in requests:
            for index, tokens in generate(engine, **json.loads(line)):
                answer(index=index, tokens=tokens)
            answer(done=True)
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}")
        raise


def new_engine(arguments: dict[str, Any]) -> Any:
    """A `vllm.LLMEngine`; what vLLM would otherwise take from the model's folder or guess is fixed."""
    from vllm import EngineArgs, LLMEngine

    return LLMEngine.from_engine_args(
        EngineArgs(
            skip_tokenizer_init=True, generation_config="vllm", load_format="safetensors", seed=0, disable_log_stats=True, **arguments
        )
    )


def generate(engine: Any, prompts: list[list[int]], seeds: list[int], sampling: dict[str, Any]) -> Iterator[tuple[int, list[list[int]]]]:
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
