"""What MLflow says of arms, references and models in words."""

from typing import Any

from apo_bench.tracking.runs import Model

NOTE = "mlflow.note.content"
"""The tag that MLflow shows as the description of an experiment, a run or a model."""
EXPERIMENT_NOTE = """Adversarial preference optimisation against the baselines, profile `{profile}`, as DVC's outputs have it.

Views with chosen columns and charts: [arms](#/experiments/{id}/runs?viewStateShareKey=arms),
[replicates](#/experiments/{id}/runs?viewStateShareKey=replicates),
[reward models](#/experiments/{id}/runs?viewStateShareKey=reward_models).

- **Arms** (`tags.kind = "arm"`): method x reward model, means over replicates. `evaluation/...` by round, 0 being the SFT start.
- **Replicates** (`tags.kind = "replicate"`): an arm with one seed. The same, and `training/...` by training step, all rounds in a row.
- **References** (`kind` `sft` and `reference`): policies that the arms are compared with; their step is the last round.
- **Reward models** (`kind = "reward_model"`): `reward_model/...` on human test pairs. Arms carry those of what trained them.
- **Judge** (`judge/...`, `judge_versus_base/...`; on human pairs `kind = "judge"`): win rates, and the audit of the judge that they come
from; `tags.judge.findings` says what it found.
- **comparison**: the page, the differences between arms, and the verdicts on the paper's claims.

Each run has a table `numbers.json` of all its numbers with their intervals, of which the metrics are the ones to compare runs by, and
`params.json` with all params of its stages. Models load from where DVC has them: `models:/{profile}-best@champion` is the best policy,
`models:/{profile}-best-reward@champion` the best reward model, and `models:/ID` any other.
"""
GOLD_UNKNOWN_NOTE = "- The true reward is unknown on this data: `evaluation/reward_all` (RM_all) is only a proxy of human preference.\n"
COMPARISON_NOTE = (
    "The page `index.html`, the differences between arms with another reward model and with the fixed one, and the verdicts on the paper's "
    "claims: `claims.json` by the primary outcome, by others `claims_by_...json`; `own_policies_by_...json` on policies of one's own."
)
SHOWN = {
    "gold": ("gold", "{:.2f}"),
    "reward_all": ("RM_all", "{:.2f}"),
    "reward_all_equal_length": ("RM_all at equal length", "{:.2f}"),
    "kl_to_sft": ("KL to SFT, nats", "{:.1f}"),
    "length": ("length, tokens", "{:.1f}"),
}
"""Metrics of a policy that are named in words, and how they are written."""
REWARD_SHOWN = {
    "human_accuracy": ("accuracy on human test pairs", "{:.1%}"),
    "gold_accuracy": ("on gold's order", "{:.1%}"),
    "ece": ("expected calibration error", "{:.3f}"),
}
KINDS = {
    "base": "RM_base, trained once on human pairs and then fixed",
    "all": "RM_all, trained on all human pairs to evaluate policies and never to train one",
    "no_adversarial": "the control AB, trained as long as APO's, on human pairs alone",
    "adversarial": "APO's, trained anew each round to tell golden responses from the policy's own samples as well",
    "oracle": "gold itself",
}
"""Reward models that mean the same in every run."""
STARTS = {
    "sft": "The supervised start that every arm of its replicate sets out from.",
    "golden": "SFT fine-tuned on the golden responses that APO's reward models learn from.",
    "human": "DPO on the human preference pairs, with no reward model between.",
    "best_of_n": "SFT, best of n by RM_base: it trains nothing.",
}
LOADING = {
    "policy": '`mlflow.transformers.load_model("models:/{id}")` gives a text-generation pipeline, `mlflow.pyfunc.load_model` a chat.',
    "reward_model": '`mlflow.transformers.load_model("models:/{id}")` gives a pipeline, `mlflow.pyfunc.load_model` the score of a chat.',
}
"""How a model of a kind is loaded, for `format`."""


def experiment_note(profile: str, experiment_id: str, has_gold: bool) -> str:
    """What there is to be seen of a profile, and where."""
    return EXPERIMENT_NOTE.format(profile=profile, id=experiment_id) + ("" if has_gold else GOLD_UNKNOWN_NOTE)


def arm_note(method: str, reward_model: str, seeds: str, estimates: dict[str, Any], last: str) -> str:
    """What an arm or a replicate of it is, and where it stands after the last round."""
    return f"**{method.upper()}** with the reward model `{reward_model}` ({reward_kind(reward_model)}), {seeds}.\n\n" + _measured(
        f"After {last}", estimates
    )


def reference_note(kind: str, estimates: dict[str, Any], is_own: bool = False) -> str:
    """What a reference is, and where it stands."""
    other = "A policy from elsewhere, the same in every replicate." if is_own else "A policy that arms are compared with."
    return f"{STARTS.get(kind, other)}\n\n" + _measured("Test prompts", estimates)


def reward_note(name: str, metrics: dict[str, Any]) -> str:
    """What a reward model is, and what it is worth on pairs it never saw."""
    found = [f"{title} {form.format(metrics[key])}" for key, (title, form) in REWARD_SHOWN.items() if key in metrics]
    return f"Reward model `{name}`: {reward_kind(name)}.\n\n{', '.join(found).capitalize()}."


def model_note(model: Model, model_id: str) -> str:
    """What a model is, where it lies, how it is loaded and what it is not for."""
    loading = LOADING[model.kind].format(id=model_id)
    return f"{model.description}\n\nFiles: `{model.path}`, whose README.md says what it is not for. {loading}"


def reward_kind(name: str) -> str:
    """A reward model in words."""
    return KINDS.get(name, "as params.yaml has it under reward")


def _measured(when: str, estimates: dict[str, Any]) -> str:
    numbers = [
        f"{title} **{form.format(estimates[key]['value'])}** [{form.format(estimates[key]['low'])}, {form.format(estimates[key]['high'])}]"
        for key, (title, form) in SHOWN.items()
        if key in estimates
    ]
    return f"{when}: {', '.join(numbers)}."
