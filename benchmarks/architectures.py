"""Every causal architecture of the installed transformers, made tiny: does the suite give the model's own numbers, or refuse it in a line?

For each: log-probabilities of three responses to a prompt, rewards of the same three together, and greedy samples of two prompts, against
the model's own `forward`, one sequence at a time, and its `generate`. Weights are random and scaled up, so that predictions are far from
uniform; windows, chunks and the like are made shorter than the sequences. Nothing is downloaded.

    python -m benchmarks.architectures docs/architectures.md     # about a minute on one core
"""

import argparse
import logging
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, GenerationConfig, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from apo_bench.config.params import load_params
from apo_bench.config.sections import PretrainedModel, Sampling
from apo_bench.core.errors import ApoBenchError
from apo_bench.data.corpus import load_corpus
from apo_bench.engines.admission import admit
from apo_bench.engines.in_process import generate
from apo_bench.models.batching import TokenSequence
from apo_bench.models.language_model import all_response_logps, load_language_model
from apo_bench.models.pretrained import load_pretrained
from apo_bench.models.reward_model import all_rewards, new_reward_model
from apo_bench.models.tokenizer import encode, train_tokenizer

PARAMS = Path(__file__).parents[1] / "params.yaml"
LARGEST_DEVIATION = 1e-4
MAX_PARAMETERS = 20_000_000
"""A model that is larger in spite of the smaller settings is left out."""
WEIGHT_SCALE = 4.0
HUB = {"name": "a/b", "revision": "0" * 40}
SIZES: dict[str, Any] = {
    "hidden_size": 64, "d_model": 64, "n_embd": 64, "dim": 64, "embed_dim": 64, "d_embed": 64, "embedding_size": 64, "emb_dim": 64,
    "word_embed_proj_dim": 64, "attention_hidden_size": 64, "hidden_size_per_layer_input": 16,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "decoder_layers": 2, "encoder_layers": 2, "num_decoder_layers": 2,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "decoder_attention_heads": 4, "encoder_attention_heads": 4,
    "num_key_value_heads": 2, "num_kv_heads": 2, "multi_query_group_num": 2, "num_global_key_value_heads": 2,
    "head_dim": 16, "global_head_dim": 16, "kv_channels": 16, "attention_head_dim": 16, "rotary_dim": 8, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8, "qk_head_dim": 16, "v_head_dim": 16, "kv_lora_rank": 16, "q_lora_rank": 16,
    "swa_head_dim": 16, "swa_v_head_dim": 16,
    "intermediate_size": 96, "ffn_dim": 96, "n_inner": 96, "dff": 96, "ffn_hidden_size": 96, "d_ff": 96, "decoder_ffn_dim": 96,
    "encoder_ffn_dim": 96, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "intermediate_size_mlp": 96,
    "expert_ffn_hidden_size": 32, "shared_intermediate_size": 32, "dense_intermediate_size": 96, "moe_shared_expert_intermediate_size": 32,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4, "num_experts_per_tok": 2, "moe_topk": 2,
    "num_experts_per_token": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "moe_k": 2,
    "ssm_state_size": 8, "mamba_d_state": 8, "state_size": 8, "mamba_d_ssm": 128, "mamba_n_heads": 4, "mamba_d_head": "auto",
    "mamba_n_groups": 1, "n_groups": 1, "mamba_num_heads": 4, "mamba_head_dim": 16, "mamba_dt_rank": 4, "time_step_rank": 4,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16, "conv_L_cache": 3,
    "lru_width": 64, "hidden_size_per_head": 16, "index_n_heads": 2, "index_head_dim": 16, "index_topk": 8,
    "sliding_window": 8, "window_size": 8, "attention_window_size": 8, "attention_chunk_size": 8, "local_attention": 8, "chunk_size": 8,
    "mamba_chunk_size": 8, "max_window_layers": 1, "num_kv_shared_layers": 0, "sliding_window_size": 8, "keep_window_size": 8,
    "max_position_embeddings": 128, "n_positions": 128, "max_seq_len": 128, "vocab_size_per_layer_input": 400, "attn_layer_indices": [1],
    "num_nextn_predict_layers": 0, "num_mem_blocks": 1, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 3, "image_token_id": 399,
    "attention_dropout": 0.0, "hidden_dropout": 0.0, "use_mambapy": False, "use_mamba_kernels": False,
}  # fmt: skip
"""Settings of configurations, by name, that make a model tiny."""
OVERRIDES: dict[str, dict[str, Any]] = {
    "falcon": {"alibi": True, "new_decoder_architecture": False},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granite": {"logits_scaling": 8.0, "embedding_multiplier": 4.0},
    "gemma2": {"final_logit_softcapping": 3.0},
    "bert": {"is_decoder": True}, "roberta": {"is_decoder": True}, "electra": {"is_decoder": True},
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What became of an architecture."""

    name: str
    architecture: str
    verdict: str
    """"equal", "plain: ..." where short cuts are not taken, "refused: ..." or "too large"."""
    deviation: float | None


def tiny_config(name: str) -> PreTrainedConfig:
    """The default configuration of an architecture with small sizes."""
    config = CONFIG_MAPPING[name]()
    inner = config.get_text_config()
    small = _small(inner) | OVERRIDES.get(name, {})
    while True:
        try:
            if inner is config:
                return type(config)(**small)
            part = next(key for key, value in vars(config).items() if value is inner)
            return type(config)(**{part: type(inner)(**small)})
        except AttributeError as error:  # a setting that follows from others
            derived = next((key for key in small if f"property '{key}'" in str(error)), None)
            if derived is None:
                raise
            del small[derived]


def _small(config: PreTrainedConfig) -> dict[str, Any]:
    settings = {"vocab_size": 400}
    for key, value in SIZES.items():
        if hasattr(config, key) and (isinstance(getattr(config, key), (int, float, str, list)) or key.endswith("token_id")):
            settings[key] = value
    if "qk_rope_head_dim" in settings:
        settings["head_dim"] = settings["qk_rope_head_dim"]  # that part alone has rotary positions
        settings["num_key_value_heads"] = settings["num_attention_heads"]
    if isinstance(getattr(config, "layer_types", None), list):
        kinds = list(dict.fromkeys(config.layer_types))
        settings["layer_types"] = (kinds * 2)[: max(2, len(kinds))]
        for key in ("num_hidden_layers", "n_layer"):
            if key in settings:
                settings[key] = len(settings["layer_types"])
    return settings


def new_model(name: str) -> Any:
    """A tiny model of an architecture with random weights, in float32."""
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(tiny_config(name))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(WEIGHT_SCALE)
    return model.eval()


def examine(name: str, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Row:
    """Takes an architecture through the suite's own entrance and compares what comes out."""
    architecture = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[name]
    try:
        with torch.device("meta"):
            num_parameters = AutoModelForCausalLM.from_config(tiny_config(name)).num_parameters()
        if num_parameters > MAX_PARAMETERS:
            return Row(name, architecture, f"too large: {num_parameters:,} parameters", None)
        model = new_model(name)
        model.save_pretrained(folder)
    except Exception as error:
        return Row(name, architecture, f"not made: {' '.join(str(error).split())[:120]}", None)
    tokenizer.save_pretrained(folder)
    return compare(name, architecture, folder)


def compare(name: str, architecture: str, folder: Path) -> Row:
    """Of the model of a folder."""
    params = load_params(PARAMS)
    lengths = {"compute": {"max_prompt_length": 40}, "sft": {"max_length": 96}}
    params = params.model_copy(update={key: getattr(params, key).model_copy(update=value) for key, value in lengths.items()})
    sampling = params.sampling.model_copy(
        update={part: getattr(params.sampling, part).model_copy(update={"max_new_tokens": 24}) for part in ("train", "test")}
    )
    params = params.model_copy(update={"sampling": sampling})
    settings = PretrainedModel(source="pretrained", folder=str(folder), chat_template="own", hub=HUB, wheel=None, num_parameters=1)  # type: ignore[arg-type]
    try:
        model, tokenizer = load_pretrained(settings)
        failed = admit(model, tokenizer, params, name)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        deviation = max(_deviations(folder, tokenizer, params))
    except ApoBenchError as error:
        told = str(error).replace(str(folder), name).removeprefix(f"{name}: ").removeprefix(f"{architecture} ")
        return Row(name, architecture, f"refused: {told}", None)
    verdict = f"plain: {', '.join(failed)}" if failed else "equal"
    return Row(name, architecture, verdict if deviation <= LARGEST_DEVIATION else f"WRONG, {verdict}", deviation)


def _deviations(folder: Path, tokenizer: PreTrainedTokenizerFast, params: Any) -> Iterator[float]:
    """Relative to 1 or to the value, if that is larger."""
    model = load_language_model(folder, params.compute).eval()
    dialogues = ["\n\nHuman: How can I make a good cup of tea at home without a kettle?\n\nAssistant:", "\n\nHuman: Hi!\n\nAssistant:"]
    responses = [["Boil the water in a pan, then add the leaves and wait.", "No.", "Ask somebody else, I do not know."], ["Hello."]]
    sequences = [sequence for group in encode(tokenizer, dialogues, responses, 96, 40) for sequence in group]
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=model.config._attn_implementation).eval()
    found = all_response_logps(model, sequences, tokenizer.pad_token_id, "logps").tolist()
    yield from (
        abs(ours - theirs) / max(1.0, abs(theirs)) for ours, theirs in zip(found, (_logp(plain, one) for one in sequences), strict=True)
    )
    reward_model = new_reward_model(folder, 0, params.compute, False).eval()
    together = all_rewards(reward_model, sequences, tokenizer.pad_token_id, "rewards").tolist()
    with torch.no_grad():
        alone = [reward_model(input_ids=torch.tensor([one.ids]), use_cache=False).logits[0, 0].item() for one in sequences]
    yield from (abs(ours - theirs) / max(1.0, abs(theirs)) for ours, theirs in zip(together, alone, strict=True))
    prompts = [one.ids[: one.prompt_length] for one in (sequences[0], sequences[-1])]
    greedy = Sampling(num_samples=2, temperature=1.0, top_k=1, top_p=1.0, repetition_penalty=1.0, max_new_tokens=24)
    samples = generate(model, tokenizer.eos_token_id, prompts, greedy, [0, 1], "greedy")
    for prompt, group in zip(prompts, samples, strict=True):
        row = torch.tensor([prompt])
        plain.generation_config = GenerationConfig(max_new_tokens=24, do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=0)
        expected = plain.generate(input_ids=row, attention_mask=torch.ones_like(row))[0, len(prompt) :].tolist()
        yield 0.0 if all(tokens == expected for tokens in group) else float("inf")


def _logp(model: Any, sequence: TokenSequence) -> float:
    with torch.no_grad():
        logps_TV = model(input_ids=torch.tensor([sequence.ids]), use_cache=False).logits[0].log_softmax(-1)
    return sum(logps_TV[at - 1, sequence.ids[at]].item() for at in range(sequence.prompt_length, len(sequence.ids)))


def sweep(names: list[str]) -> Iterator[Row]:
    """A row an architecture."""
    tokenizer = train_tokenizer([step for topic in load_corpus().topics for step in topic.steps], vocab_size=400)
    for name in names:
        with TemporaryDirectory() as folder, redirect_stdout(StringIO()):
            row = examine(name, tokenizer, Path(folder))
        print(f"{row.name}: {row.verdict} {'' if row.deviation is None else f'{row.deviation:.1e}'}", flush=True)
        yield row


def page(rows: list[Row]) -> str:
    """The table as a page of the docs."""
    made = [row for row in rows if not row.verdict.startswith(("not made", "too large"))]
    equal = [row for row in made if row.deviation is not None]
    lines = [
        "# Architectures",
        "",
        "Written by `python -m benchmarks.architectures docs/architectures.md`: every causal architecture of transformers "
        f"{transformers.__version__}, made tiny by its configuration, with random weights (float32, on a processor). {len(made)} of "
        f"{len(rows)} could be made so; {len(equal)} of these run, the others are refused by `base_model` before anything is trained.",
        "",
        "- equal: log-probabilities, rewards and greedy samples are those of the model's own `forward` and `generate`;",
        "- plain: the same, but by the plain way where a short cut would change something: `shared_prompts` (each response stands behind a "
        "prompt of its own), `batches` (each sequence is computed alone), `head_apart` (logits of all positions are computed), `cache` "
        "(samples come of the model's own `generate`);",
        "- refused: the line that says why.",
        "",
        "The deviation is the largest of all these numbers, of 1 or of the number itself if that is larger.",
        "",
        "| architecture | class | verdict | deviation |",
        "|---|---|---|---:|",
    ]
    for row in made:
        deviation = "" if row.deviation is None else f"{row.deviation:.0e}"
        lines.append(f"| {row.name} | {row.architecture} | {row.verdict.replace('|', '/')} | {deviation} |")
    rest = ", ".join(row.name for row in rows if row not in made)
    return "\n".join([*lines, "", f"Not made tiny, and so not tried: {rest}.", ""])


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("names", nargs="*", help="architectures; all if none")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = list(sweep(options.names or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)))
    options.page.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
