"""What every engine shares: dialogues in, responses out, nothing dropped."""

import pytest

from apo_bench.config.sections import Sampling
from apo_bench.core.errors import EngineError, MissingInputError, ModelError
from apo_bench.core.seeds import derive_seed
from apo_bench.engines import in_process
from apo_bench.engines.sampling import _check_complete, _own_turn, sample_responses
from apo_bench.models.language_model import load_language_model, save_model
from apo_bench.models.tokenizer import encode_prompts

SETTINGS = Sampling(num_samples=3, temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0, max_new_tokens=24)


@pytest.fixture(scope="module")
def policy(model, tokenizer, tmp_path_factory):
    """The folder of a policy."""
    folder = tmp_path_factory.mktemp("policy")
    save_model(model, tokenizer, folder)
    return folder


@pytest.fixture
def respond(policy, tokenizer, compute, params):
    """Samples from that policy in process."""

    def respond(dialogues, settings=SETTINGS, seed=0):
        return sample_responses(policy, tokenizer, dialogues, settings, compute, params.engines, seed, "test")

    return respond


def test_responses_are_the_texts_of_the_engines_tokens(respond, policy, compute, tokenizer, dialogues):
    model = load_language_model(policy, compute)  # with its attention: another one's rounding makes other draws on some processors
    seeds = [derive_seed(5, dialogue) for dialogue in dialogues]
    prompts = encode_prompts(tokenizer, dialogues, 1024)
    tokens = in_process.generate(model, tokenizer.eos_token_id, prompts, SETTINGS, seeds, "test")
    samples = respond(dialogues, seed=5)
    for group, sample in zip(tokens, samples, strict=True):
        assert sample.responses == [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in group]
        assert sample.finished == [ids[-1] == tokenizer.eos_token_id for ids in group]


def test_no_dialogues_give_no_responses(respond):
    assert respond([]) == []


def test_too_long_for_the_model_is_an_error(respond, dialogues):
    with pytest.raises(ModelError, match="the model has 128; lower max_new_tokens"):
        respond(dialogues, SETTINGS.model_copy(update={"max_new_tokens": 128}))


def test_no_policy_is_an_error(tokenizer, dialogues, compute, params, tmp_path):
    with pytest.raises(MissingInputError, match="no model there"):
        sample_responses(tmp_path, tokenizer, dialogues, SETTINGS, compute, params.engines, 0, "test")


def test_what_is_missing_is_named():
    dialogues = [f"\n\nHuman: Question {number}?\n\nAssistant:" for number in range(6)]
    whole = [[[1, 2], [3]]] * 6
    _check_complete(dialogues, whole, 2, "test")
    with pytest.raises(EngineError, match=r"test: 2 of 6 prompts lack .* 2 responses: .*Question 1\?.* 1, .*Question 4\?.* 0; run"):
        _check_complete(dialogues, [whole[0], [[1, 2]], *whole[2:4], [], whole[5]], 2, "test")
    with pytest.raises(EngineError, match="1 of 6"):  # a response without a token is none
        _check_complete(dialogues, [[[1], []], *whole[1:]], 2, "test")
    with pytest.raises(EngineError, match=r"Question 2\?.* 0, \.\.\.; run"):
        _check_complete(dialogues, [[]] * 6, 2, "test")


def test_what_is_said_in_the_humans_place_is_cut():
    """Such a response had said all it had to say; one that merely names a human goes on."""
    texts = ["Yes.\n\nHuman: And now?\n\nAssistant: No.", " Human: I cannot say. ", "Cut off, as every Human: of us"]
    samples = _own_turn(texts, [7, 8], [[3, 4, 5], [3, 9], [3]], end_token_id=9)
    assert samples.responses == ["Yes.", "I cannot say.", "Cut off, as every Human: of us"] and samples.finished == [True, True, False]
    assert samples.prompt_length == 2 and samples.lengths == [3, 2, 1], "as drawn, what is cut off included"
