"""vLLM as its documentation uses it, to be measured against: the first line of input is a job, each further one has it sample once."""

import json
import sys
import time

from vllm import LLM, SamplingParams


def main() -> None:
    """Prints a line when the engine stands, then tokens and seconds of each run."""
    job = json.loads(sys.stdin.readline())
    llm = LLM(**job["engine"])
    params = SamplingParams(**job["sampling"])
    prompts = [{"prompt_token_ids": ids} for ids in job["prompts"]]
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        outputs = llm.generate(prompts, params, use_tqdm=False)
        seconds = time.perf_counter() - started
        tokens = sum(len(response.token_ids) for output in outputs for response in output.outputs)
        print(json.dumps({"tokens": tokens, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
