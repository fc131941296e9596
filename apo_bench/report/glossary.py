"""What each number on the page means, in a sentence or two. Keys of policies are those of `comparison.METRICS`."""

from apo_bench.comparison.results import Comparison
from apo_bench.core.data_sections import HHData

GOLD_UNKNOWN = (
    "The true reward is unknown on this data: RM_all is only a proxy of human preference, and what pleases it need not be better."
)
SUBSETS = {
    "embedded": {"helpful": "harmless questions", "harmless": "harmful requests"},
    "hh": {"helpful": "requests for help", "harmless": "red-team dialogues"},
}
"""What the prompts of a subset are called, by the source of the data."""

POLICY_METRICS = {
    "reward_all": "Mean score by the test reward model. It is trained on all human pairs and never used to train a policy. "
    "Only differences count: its zero means nothing.",
    "reward_all_equal_length": "The same if every response were as long as SFT's to the same prompt, by a regression of RM_all on length "
    "within prompts and policies.",
    "gold": "Mean true reward, about −5 to 4.6, by the scorer in code that the embedded corpus comes with. No model ever sees it.",
    "gold_helpful": "Gold over the harmless questions: a right, complete, on-topic answer earns it.",
    "gold_harmless": "Gold over the harmful requests: declining, saying why and offering a safe way earns it.",
    "win_rate_reward_all": "Share of prompts on which RM_all scores the response above SFT's to the same prompt; a tie is half a win.",
    "win_rate_gold": "Share of prompts on which gold scores the response above SFT's to the same prompt; a tie is half a win.",
    "kl_to_sft": "How far the policy has moved from SFT, in nats: the divergence of its next-token distributions from SFT's, summed along "
    "its own response.",
    "length": "Mean length of a response in tokens.",
    "refusal_rate": "Share of harmless questions that the policy refuses to answer, by gold's reading of the response.",
    "compliance_rate": "Share of harmful requests that the policy goes along with, by gold's reading of the response.",
}

REWARD_MODEL_METRICS = {
    "human_accuracy": (
        "Accuracy on human pairs",
        "Share of held-out test pairs whose human-preferred response has the higher reward. Labels are noisy, so 100 % is out of reach.",
    ),
    "human_accuracy_helpful": ("… on helpful pairs", "The same over the pairs of subset helpful."),
    "human_accuracy_harmless": (
        "… on harmless pairs",
        "The same over the pairs of subset harmless, which often prefers what helpful does not.",
    ),
    "gold_accuracy": (
        "Accuracy on gold order",
        "Share of held-out test pairs, gold ties left out, that the reward model orders as gold does.",
    ),
    "golden_accuracy": (
        "Golden above sample",
        "Share of (golden response, policy sample) pairs in which the golden response has the higher reward, on the policy's own samples.",
    ),
    "sample_accuracy": (
        "Order of samples",
        "Share of pairs of a prompt's samples, gold ties left out, that the reward model orders as gold does: what the policy learns.",
    ),
    "best_of_n_gain": ("Best-of-n gain", "Gold of the best-scored of a prompt's samples minus the mean gold of all of them."),
    "ece": (
        "ECE",
        "Expected calibration error of the Bradley–Terry probability against the human labels: mean gap between the two, weighted by "
        "count, over 10 uniform bins, each pair in both orders.",
    ),
    "ace": ("ACE", "As ECE, with the plain mean over the bins that are not empty."),
    "mce": ("MCE", "As ECE, with the largest gap of any bin."),
}

GOLDEN_RESPONSES = {
    "embedded": "A near-best response to a prompt; stands for an expert's or a strong model's.",
    "chosen": "The response to a prompt that its human pair prefers; stands for an expert's or a strong model's.",
    "file": "A response to a prompt that a file brought along, such as an expert's or a strong model's.",
    "api": "A strong model's response to a prompt.",
}
"""By the source of the data or, where the data leaves it open, that of the golden responses."""


def terms(comparison: Comparison) -> dict[str, str]:
    """The other words of the page."""
    data = comparison.data
    over_optimisation = "The score that is optimised, or its kin RM_all, goes on rising while the true reward{} stalls or falls{}."
    additions = (", gold,", "") if comparison.has_gold else ("", "; it cannot be seen where that is unknown")
    return {
        "SFT": "The supervised start from which every arm sets out.",
        "SFT on golden": "A reference: SFT fine-tuned directly on the golden responses that the adversarial reward models learn from.",
        "DPO on human pairs": "A reference: DPO on the human preference pairs, with no reward model between.",
        "Golden response": GOLDEN_RESPONSES[data.golden.source if isinstance(data, HHData) else data.source],
        "base": "Reward model trained once on human pairs and then fixed.",
        "adversarial": "Reward model trained anew each round, also to prefer golden responses to the current policy's own samples.",
        "Interval": "Percentile bootstrap over test prompts, drawn within the two kinds of prompt. It covers the choice of prompts, not "
        "that of the training seed. All policies share the draws, so differences are paired.",
        "Verdict": "“Better” if the interval of the paired difference lies on one side of zero, else “undecided”. There is no correction "
        "for the number of comparisons.",
        "Over-optimisation": over_optimisation.format(*additions),
    }
