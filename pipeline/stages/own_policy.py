"""A policy of one's own, trained elsewhere: checked as the base model is, and made ready to be sampled from with its own tokenizer."""

from pathlib import Path

from apo_bench.config.params import PARAMS, load_params
from apo_bench.core.files import complete_directory
from apo_bench.core.layout import MODELS, OWN, Reference
from apo_bench.core.seeds import use_threads
from apo_bench.core.stage import Files, Stage
from apo_bench.engines.admission import admit
from apo_bench.models.card import Card
from apo_bench.models.language_model import save_model
from apo_bench.models.pretrained import load_own_policy

STAGE = Stage(runs="models")


def files(name: str) -> Files:
    """A policy for all replicates; params.yaml says where it comes from."""
    return Files({}, {"output": Reference(name, seed=0).trained(MODELS)})


def main(name: str, output: Path) -> tuple[str, Path]:
    """Takes the policy of `references.own.NAME` in; leaves it."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    settings = params.references.own[name]
    model, tokenizer = load_own_policy(settings, f"references.{OWN}.{name}")
    made = "Trained elsewhere; its tokenizer was made safe to sample with, and nothing else changed."
    with complete_directory(output) as folder:
        admit(model, tokenizer, params, settings.folder, is_start=False)
        save_model(model, tokenizer, folder, Card(f"Policy {name}", "policy", made, None, start=Path(settings.folder)))
    return f"{type(model).__name__} of {model.num_parameters():,} parameters", output
