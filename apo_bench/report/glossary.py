"""What policies are called, and what the words of the report mean."""

from apo_bench.comparison.results import Comparison, Difference, Policy
from apo_bench.config.data_sections import EmbeddedData
from apo_bench.core.layout import BEST_OF_N, SFT
from apo_bench.report.table import Column

GOLD_UNKNOWN = (
    "The true reward is unknown on this data: RM_all is only a proxy of human preference, and what pleases it need not be better."
)
SUBSETS = {
    "embedded": {"helpful": "harmless questions", "harmless": "harmful requests"},
    "hh": {"helpful": "requests for help", "harmless": "red-team dialogues"},
}
"""What the prompts of a subset are called, by the source of the data; of data of one's own by their subset."""

REFERENCES = {SFT: "SFT", "golden": "SFT on golden", "human": "DPO on human pairs", BEST_OF_N: "SFT, best of n by RM_base"}

REWARD_MODEL_METRICS = {
    "human_accuracy": Column(
        "Accuracy on human pairs",
        "Share of held-out test pairs whose human-preferred response has the higher reward. Labels are noisy, so 100 % is out of reach.",
        "share",
    ),
    "human_accuracy_helpful": Column("… on helpful pairs", "The same over the pairs of subset helpful.", "share"),
    "human_accuracy_harmless": Column(
        "… on harmless pairs", "The same over the pairs of subset harmless, which often prefers what helpful does not.", "share"
    ),
    "gold_accuracy": Column(
        "Accuracy on gold order",
        "Share of held-out test pairs, gold ties left out, that the reward model orders as gold does.",
        "share",
    ),
    "golden_accuracy": Column(
        "Golden above sample",
        "Share of (golden response, policy sample) pairs in which the golden response has the higher reward, on the policy's own samples.",
        "share",
    ),
    "sample_accuracy": Column(
        "Order of samples",
        "Share of pairs of a prompt's samples, gold ties left out, that the reward model orders as gold does: what the policy learns.",
        "share",
    ),
    "best_of_n_gain": Column(
        "Best-of-n gain", "Gold of the best-scored of a prompt's samples minus the mean gold of all of them.", "score"
    ),
    "perfect_best_of_n_gain": Column("… by gold", "The same if gold chose: as much as there is to be gained.", "score"),
    "ece": Column(
        "ECE",
        "Expected calibration error of the Bradley–Terry probability against the human labels: mean gap between the two, weighted by "
        "count, over 10 uniform bins, each pair in both orders.",
        "error",
    ),
    "ace": Column("ACE", "As ECE, with the plain mean over the bins that are not empty.", "error"),
    "mce": Column("MCE", "As ECE, with the largest gap of any bin.", "error"),
}

GOLDEN_RESPONSES = {
    "embedded": "A near-best response to a prompt; stands for an expert's or a strong model's.",
    "chosen": "The response to a prompt that its human pair prefers; stands for an expert's or a strong model's.",
    "file": "A response to a prompt that a file brought along, such as an expert's or a strong model's.",
    "api": "A strong model's response to a prompt.",
}
"""By the source of the data or, where the data leaves it open, that of the golden responses."""


OWN_POLICY = (
    "A policy from elsewhere (references.own in params.yaml), the same in every replicate, sampled with its own tokenizer and template. "
    "Its length is counted in SFT’s tokens, and it has a divergence from SFT only if its tokens are SFT’s."
)
OWN_REWARD_MODEL = "A reward model from elsewhere (reward.own in params.yaml), the same in every replicate and round."
REWARD_MODELS = {
    "base": "Reward model trained once a replicate on human pairs and then fixed (RM_base); every other one is compared with it.",
    "no_adversarial": "AB: a control, trained once a replicate as long as adversarial, on human pairs alone: others stand where the game’s "
    "would. What adversarial has over it is not mere training.",
    "adversarial": "APO: reward model trained anew each round, also to prefer golden responses to the current policy’s own samples.",
    "oracle": "A control: gold itself in the place of a reward model. What a method makes of a perfect judge, which no reward model is.",
}
"""Those that mean the same in every run; others are what params.yaml makes of them."""


def policy_title(policy: Policy) -> str:
    """How a policy is called in tables."""
    seed = "" if policy.seed is None else f", seed {policy.seed}"
    group = policy.name.removesuffix(f"-s{policy.seed}")
    return (method_title(policy) if policy.is_arm else REFERENCES.get(group, group)) + seed


def method_title(arm: Policy | Difference) -> str:
    """How an arm is called: method and reward model."""
    return f"{str(arm.method).upper()} {arm.reward_model}"


def table_policies(comparison: Comparison) -> list[Policy]:
    """The rows of the tables of policies: references, then arms after their last round."""
    return [*comparison.references, *comparison.arms]


def terms(comparison: Comparison) -> dict[str, str]:
    """The other words of the page."""
    data, arms = comparison.data, comparison.run.reward_models
    over_optimisation = "The score that is optimised, or its kin RM_all, goes on rising while the true reward{} stalls or falls{}."
    additions = (", gold,", "") if comparison.has_gold else ("", "; it cannot be seen where that is unknown")
    return {
        "Replicate": f"A seed, for which {drawn_anew(comparison)} are made anew; base model, corpus and prompts are one.",
        "SFT": "The supervised start from which every arm of a replicate sets out.",
        "SFT on golden": "A reference: SFT fine-tuned directly on the golden responses that the adversarial reward models learn from.",
        "DPO on human pairs": "A reference: DPO on the human preference pairs, with no reward model between.",
        "SFT, best of n by RM_base": "A reference that trains nothing: of as many samples of SFT as arms draw to learn from, the one that "
        "RM_base scores highest.",
        **{policy.name: OWN_POLICY for policy in comparison.references if policy.is_own},
        **dict.fromkeys(comparison.run.own_reward_models, OWN_REWARD_MODEL),
        "Golden response": GOLDEN_RESPONSES[data.source if isinstance(data, EmbeddedData) else data.golden.source],
        **{name: REWARD_MODELS[name] for name in arms if name in REWARD_MODELS},
        "Interval": "Of a mean over several replicates, and of a difference, Student’s over these: what other "
        f"{drawn_anew(comparison)} would give with this base model, corpus and prompts; for differences with variances drawn towards each "
        "other (Smyth 2004). Of a single replicate a percentile bootstrap over test prompts, drawn within the two kinds of prompt: what "
        "other prompts would give, with all that was drawn as it is.",
        "Verdict": "“Better” if a difference is known to lie on that side of zero, “no difference beyond d” if within ± d, both over "
        "replicates, else “undecided”. Errors are kept over the rows of a metric (Holm). It takes "
        f"{comparison.verdicts.settings.min_seeds} replicates: what one says the next may turn.",
        "Over-optimisation": over_optimisation.format(*additions),
    }


def prompts_of(comparison: Comparison, subset: str) -> str:
    """What the prompts of a subset are called."""
    return SUBSETS.get(comparison.data.source, {}).get(subset, f"prompts of {subset}")


def drawn_anew(comparison: Comparison) -> str:
    """What each replicate has of its own; the labels of records stay as people gave them."""
    labels = "human labels, " if isinstance(comparison.data, EmbeddedData) else ""
    return f"{labels}SFT, reward models and samples"
