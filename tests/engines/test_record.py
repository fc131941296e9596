"""What a stage leaves of itself: the same bytes each time but for its seconds, which lie apart."""

import json

import pytest
from other_engines import with_engines
from stages_file import written_stages

from apo_bench.core.errors import OutputError
from apo_bench.core.files import write_json
from apo_bench.core.stage import Files, Stage
from apo_bench.engines.record import environment, leave_record, num_gpus
from apo_bench.provenance.times import Stopwatch


def test_nothing_but_the_page_of_seconds_and_the_runs_in_mlflow_depend_on_them(root):
    stages = written_stages(root)
    readers = {name for name, stage in stages.items() if any("out/times" in dep for dep in stage["deps"])}
    assert readers == {"times", "track"}  # of these `track` has no outputs
    assert {name for name, stage in stages.items() if "report/times.json" in stage["deps"]} == {"track"}


def test_gpu_seconds_count_the_devices_taken(params):
    assert num_gpus("training", with_engines(params, device="cpu", sampling="vllm", training="deepspeed")) == 0
    assert num_gpus("training", with_engines(params)) == num_gpus("sampling", with_engines(params)) == 1 / params.compute.stages_per_gpu
    both = with_engines(params, sampling="vllm", training="deepspeed")
    assert num_gpus("sampling", both) == 6
    assert num_gpus("training", both) == 4


def test_record_is_the_same_twice_but_for_its_seconds(tokenizer, params, tmp_path):
    tokenizer.save_pretrained(tmp_path / "policy")
    files = Files({"policy": tmp_path / "policy"}, {"results": tmp_path / "out/results/sft"})
    write_json(files.writes["results"] / "metrics.json", {"num_tokens_trained": 7})
    kept = []
    for _ in range(2):
        leave_record(Stage("training", counts=("num_tokens_trained",)), files, params, Stopwatch())
        kept.append((files.writes["results"] / "environment.json").read_bytes())
    assert kept[0] == kept[1]
    found = json.loads(kept[0])
    assert {"python", "torch", "transformers", "tokenizers", "device", "dtype", "tokenizer"} <= set(found) and found["dtype"] == "float32"
    assert set(json.loads((tmp_path / "out/times/sft.json").read_text())) == {"wall_seconds", "cpu_seconds", "gpu_seconds"}
    leave_record(Stage("models"), Files(files.reads, {"results": tmp_path / "out/results/evaluation"}), params, Stopwatch())
    assert not (tmp_path / "out/times/evaluation.json").exists()


def test_a_stage_that_has_not_counted_what_it_says_is_told(tokenizer, params, tmp_path):
    tokenizer.save_pretrained(tmp_path / "policy")
    files = Files({"policy": tmp_path / "policy"}, {"results": tmp_path / "out/results/sft"})
    write_json(files.writes["results"] / "metrics.json", {"num_samples": 8})
    with pytest.raises(OutputError, match=r"sft/metrics.json: no num_tokens_read; mend the stage"):
        leave_record(Stage("sampling", counts=("num_samples", "num_tokens_read")), files, params, Stopwatch())


def test_another_tokenizer_has_another_checksum(tokenizer, params, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    before = environment("sampling", {"policy": tmp_path}, params)
    template = tmp_path / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    after = environment("sampling", {"policy": tmp_path}, params)
    assert {key for key in before if before[key] != after[key]} == {"tokenizer"}
    assert "vllm" in environment("sampling", {"policy": tmp_path}, with_engines(params, device="cpu", sampling="vllm"))
