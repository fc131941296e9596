"""The files by which MLflow loads a model that DVC has: a small description beside links to the model's own files, no second copy.

To `mlflow.transformers` both kinds are pipelines; to `mlflow.pyfunc` a policy is a chat, a reward model scores one (tracking/scoring.py).
"""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import yaml
from mlflow.models import Model, ModelSignature, convert_input_example_to_serving_input
from mlflow.types.llm import CHAT_MODEL_INPUT_SCHEMA, CHAT_MODEL_OUTPUT_SCHEMA
from mlflow.types.schema import Array, ColSpec, DataType, Object, Property, Schema

from apo_bench.tracking import runs

WEIGHTS, TOKENIZER = "model", "components/tokenizer"
"""Where MLflow looks for a model's own files, and again for the tokenizer's."""
MESSAGES = Array(Object([Property("role", DataType.string), Property("content", DataType.string)]))
QUESTION = {"role": "user", "content": "What is a good way to clean a burnt pan?"}
ANSWER = {"role": "assistant", "content": "Soak it in hot water with baking soda, then scrub it gently."}
PACKAGES = ("mlflow", "torch", "transformers", "tokenizers", "safetensors", "accelerate", "jinja2")

FLAVORS: dict[str, dict[str, Any]] = {
    "policy": {
        "task": "text-generation",
        "instance_type": "TextGenerationPipeline",
        "pipeline_model_type": "AutoModelForCausalLM",
        "inference_task": "llm/v1/chat",
    },
    "reward_model": {
        "task": "text-classification",
        "instance_type": "TextClassificationPipeline",
        "pipeline_model_type": "AutoModelForSequenceClassification",
    },
}
LOADERS = {"policy": "mlflow.transformers", "reward_model": "apo_bench.tracking.scoring"}
SIGNATURES = {
    "policy": ModelSignature(CHAT_MODEL_INPUT_SCHEMA, CHAT_MODEL_OUTPUT_SCHEMA),
    "reward_model": ModelSignature(
        Schema([ColSpec(MESSAGES, "messages"), ColSpec(DataType.string, "subset", required=False)]),
        Schema([ColSpec(DataType.double, "score")]),
    ),
}
EXAMPLES: dict[str, dict[str, Any]] = {"policy": {"messages": [QUESTION]}, "reward_model": {"messages": [QUESTION, ANSWER]}}


def write_model_files(model: runs.Model, folder: Path, model_id: str, run_id: str) -> None:
    """Writes MLflow's description of a model to `folder`; `link_model` puts the model's own files beside it.

    Args:
        model: where DVC has it, seen from the current folder.
        folder: of the logged model's artifacts.
        model_id: of the logged model.
        run_id: of the run that made it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {"requirements.txt": _requirements(model.kind), "python_env.yaml": _python_env()}
    files["input_example.json"] = json.dumps(EXAMPLES[model.kind])
    files["serving_input_example.json"] = str(convert_input_example_to_serving_input(EXAMPLES[model.kind]))
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    example = {"artifact_path": "input_example.json", "serving_input_path": "serving_input_example.json", "type": "json_object"}
    description = Model(
        model_id=model_id,
        model_uuid=model_id,
        run_id=run_id,
        artifact_path=folder.as_uri(),
        signature=SIGNATURES[model.kind],
        saved_input_example_info=example,
        metadata={"dvc.path": model.path, "dvc.md5": model.md5},
    )
    flavor = {**FLAVORS[model.kind], "source_model_name": model.path, "model_binary": WEIGHTS}
    flavor |= {"components": ["tokenizer"], "tokenizer_type": "AutoTokenizer", "transformers_version": version("transformers")}
    description.add_flavor("transformers", **flavor)
    mlflow.pyfunc.add_to_model(description, LOADERS[model.kind], python_env="python_env.yaml")
    description.save(folder / "MLmodel")


def link_model(source: Path, folder: Path) -> None:
    """Makes the artifacts of a logged model hold the files that `source` has, if it is there, and does nothing if they do."""
    if not source.is_dir():  # weights are large, and nothing but loading them needs them
        return
    for file in (path for path in source.rglob("*") if path.is_file()):  # an ensemble's folder holds those of its members
        _link(file, folder / WEIGHTS / file.relative_to(source))
        if file.suffix != ".safetensors" and file.parent == source:
            _link(file, folder / TOKENIZER / file.name)


def _link(file: Path, place: Path) -> None:
    """A hard link, as MLflow refuses to list or send what a symbolic one points at; that is what is left between file systems."""
    if place.exists() and place.samefile(file):
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    try:
        place.hardlink_to(file.resolve())
    except OSError:
        place.symlink_to(os.path.relpath(file, place.parent))


def _requirements(kind: str) -> str:
    """The packages that load a model, as they are here; that of reward models is no package of an index."""
    packages = [f"{name}=={version(name).split('+')[0]}" for name in PACKAGES]
    return "\n".join([*packages, *(["# and apo-bench itself: pip install FOLDER"] if kind == "reward_model" else []), ""])


def _python_env() -> str:
    environment = {"python": platform.python_version(), "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    return yaml.safe_dump(environment, sort_keys=False)
