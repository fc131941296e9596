"""What a stage leaves of itself: the same bytes each time but for its seconds, which lie apart."""

import json
import subprocess
import sys

import pytest
from other_engines import with_engines
from stages_file import written_stages

from apo_bench.engines.record import Stopwatch, environment, leave_record, num_gpus


def test_nothing_but_the_page_of_seconds_and_the_runs_in_mlflow_depend_on_them(root):
    stages = written_stages(root)
    readers = {name for name, stage in stages.items() if any("out/times" in dep for dep in stage["deps"])}
    assert readers == {"times", "track"}  # of these `track` has no outputs
    assert {name for name, stage in stages.items() if "report/times.json" in stage["deps"]} == {"track"}


def test_gpu_seconds_count_the_devices_taken(params):
    assert num_gpus("align", with_engines(params, device="cpu", sampling="vllm", training="deepspeed")) == 0
    assert num_gpus("align", with_engines(params)) == num_gpus("sample", with_engines(params)) == 1 / params.compute.stages_per_gpu
    both = with_engines(params, sampling="vllm", training="deepspeed")
    assert num_gpus("sample", both) == num_gpus("respond", both) == 6
    assert num_gpus("align", both) == num_gpus("score", both) == 4
    assert Stopwatch().seconds(0)["gpu_seconds"] == 0.0


def test_seconds_of_processors_include_child_processes():
    watch = Stopwatch()
    subprocess.run(
        [sys.executable, "-c", "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"], check=True
    )
    seconds = watch.seconds(2)
    assert seconds["cpu_seconds"] >= 0.4 and seconds["wall_seconds"] >= 0.4
    assert seconds["gpu_seconds"] == pytest.approx(2 * seconds["wall_seconds"], abs=0.002)


def test_record_is_the_same_twice_but_for_its_seconds(tokenizer, params, tmp_path):
    tokenizer.save_pretrained(tmp_path / "policy")
    options = {"policy": tmp_path / "policy", "results": tmp_path / "out/results/sft"}
    kept = []
    for _ in range(2):
        leave_record("align", options, params, Stopwatch())
        kept.append((options["results"] / "environment.json").read_bytes())
    assert kept[0] == kept[1]
    found = json.loads(kept[0])
    assert {"python", "torch", "transformers", "tokenizers", "device", "dtype", "tokenizer"} <= set(found) and found["dtype"] == "float32"
    assert set(json.loads((tmp_path / "out/times/sft.json").read_text())) == {"wall_seconds", "cpu_seconds", "gpu_seconds"}
    leave_record("evaluate", {**options, "results": tmp_path / "out/results/evaluation"}, params, Stopwatch())
    assert not (tmp_path / "out/times/evaluation.json").exists()


def test_another_tokenizer_has_another_checksum(tokenizer, params, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    before = environment("sample", {"policy": tmp_path}, params)
    template = tmp_path / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    after = environment("sample", {"policy": tmp_path}, params)
    assert {key for key in before if before[key] != after[key]} == {"tokenizer"}
    assert "vllm" in environment("sample", {"policy": tmp_path}, with_engines(params, device="cpu", sampling="vllm"))
