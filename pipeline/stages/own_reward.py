"""A reward model of one's own, trained elsewhere: checked, and made ready to score with its own tokenizer."""

from pathlib import Path

from apo_bench.config.params import PARAMS, load_params
from apo_bench.core.files import complete_directory
from apo_bench.core.layout import MODELS, OWN, own_reward_model
from apo_bench.core.seeds import use_threads
from apo_bench.core.stage import Files, Stage, Step
from apo_bench.engines.admission import admit_reward_model
from apo_bench.models.card import Card
from apo_bench.models.language_model import save_model
from apo_bench.models.pretrained import load_own_reward_model

STAGE = Stage(runs="models", step=Step.REWARD_MODEL)


def files(reward_model: str) -> Files:
    """A reward model for all replicates; params.yaml says where it comes from."""
    return Files({}, {"output": own_reward_model(MODELS, reward_model)})


def main(reward_model: str, output: Path) -> tuple[str, Path]:
    """Takes the reward model of that name in `reward.own` in; leaves it."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    settings, compute = params.own_reward_models[reward_model], params.compute
    model, tokenizer = load_own_reward_model(settings, f"reward.{OWN}.{reward_model}", compute, params.base_reward.max_length)
    admit_reward_model(model, tokenizer, params, settings.folder)
    made = "Trained elsewhere; its tokenizer was made safe to score with, and nothing else changed."
    with complete_directory(output) as folder:
        card = Card(f"Reward model {reward_model}", "reward_model", made, None, start=Path(settings.folder))
        save_model(model, tokenizer, folder, card)
    return f"{type(model).__name__} of {model.num_parameters():,} parameters", output
