"""How dialogues become tokens: one end token, the template once, truncation on the prompt's left."""

from dataclasses import replace

import pytest

from apo_bench.core.errors import MissingInputError, ModelError
from apo_bench.data.corpus import HARMLESS, HELPFUL, load_corpus
from apo_bench.data.records import format_dialogue
from apo_bench.models.tokenizer import (
    ASSISTANT,
    END,
    PAD,
    USER,
    encode,
    encode_prompts,
    encode_records,
    join,
    load_tokenizer,
    train_tokenizer,
)

SUBSETS = (HELPFUL, HARMLESS)

DIALOGUE = format_dialogue("How do I boil water?")


def test_template_is_applied_once(tokenizer):
    [ids] = encode_prompts(tokenizer, [DIALOGUE], 1024)
    assert tokenizer.decode(ids) == f"{USER}How do I boil water?{END}{ASSISTANT}"
    specials = [tokenizer.convert_ids_to_tokens(token) for token in ids if token in tokenizer.all_special_ids or token < 4]
    assert specials == [USER, END, ASSISTANT]


def test_earlier_turns_are_kept(tokenizer):
    [ids] = encode_prompts(tokenizer, ["\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: Bye.\n\nAssistant:"], 1024)
    assert tokenizer.decode(ids) == f"{USER}Hi.{END}{ASSISTANT}Hello.{END}{USER}Bye.{END}{ASSISTANT}"


def test_finished_adds_exactly_one_end_token(tokenizer):
    [[finished, unfinished]] = encode(tokenizer, [DIALOGUE], [["Boil it.", "Boil it."]], 128, 1024, [[True, False]])
    assert finished.ids == [*unfinished.ids, tokenizer.eos_token_id]
    assert tokenizer.eos_token_id not in unfinished.ids[unfinished.prompt_length :]
    [[by_default]] = encode(tokenizer, [DIALOGUE], [["Boil it."]], 128, 1024)
    assert by_default == finished


def test_groups_and_prompts_stay_together(tokenizer, dialogues):
    """Groups of different sizes, an empty one among them."""
    responses = [["One.", "Two."], [], ["Three."]]
    groups = encode(tokenizer, dialogues, responses, 128, 1024)
    prompts = encode_prompts(tokenizer, dialogues, 1024)
    for prompt, texts, group in zip(prompts, responses, groups, strict=True):
        assert [sequence.ids[: sequence.prompt_length] for sequence in group] == [prompt] * len(texts)
        assert [tokenizer.decode(sequence.ids[sequence.prompt_length : -1]) for sequence in group] == texts


def test_truncation_cuts_the_left_of_the_prompt():
    sequence = join([1, 2, 3, 4, 5], [7, 8, 9], max_length=5)
    assert (sequence.ids, sequence.prompt_length) == ([4, 5, 7, 8, 9], 2)
    whole = join([1, 2, 3, 4, 5], [7, 8, 9], max_length=8)
    assert (whole.ids, whole.prompt_length) == ([1, 2, 3, 4, 5, 7, 8, 9], 5)


def test_truncated_dialogue_keeps_the_response_and_its_end(tokenizer):
    [[long]] = encode(tokenizer, [format_dialogue("Please " * 200 + "help.")], [["Boil the water."]], 20, 1024)
    assert len(long.ids) == 20
    assert tokenizer.decode(long.ids).endswith(f"help.{END}{ASSISTANT}Boil the water.{END}")


def test_response_longer_than_all_keeps_its_end():
    sequence = join([1, 2], [5, 6, 7, 8, 9], max_length=4)
    assert (sequence.ids, sequence.prompt_length) == ([6, 7, 8, 9], 0)


def test_long_prompt_loses_its_oldest_turns_then_its_oldest_tokens(tokenizer):
    turns = "".join(f"\n\nHuman: Question {number}?\n\nAssistant: Answer {number}." for number in range(4))
    dialogue, last = f"{turns}\n\nHuman: And now?\n\nAssistant:", "\n\nHuman: And now?\n\nAssistant:"
    [whole], [only_last] = encode_prompts(tokenizer, [dialogue], 1024), encode_prompts(tokenizer, [last], 1024)
    two_turns = "\n\nHuman: Question 3?\n\nAssistant: Answer 3." + last
    [expected] = encode_prompts(tokenizer, [two_turns], 1024)
    assert encode_prompts(tokenizer, [last, dialogue, dialogue], len(expected)) == [only_last, expected, expected]
    assert encode_prompts(tokenizer, [dialogue], len(whole)) == [whole]
    assert encode_prompts(tokenizer, [dialogue], 4) == [only_last[-4:]]


@pytest.mark.parametrize("text", [load_corpus().topics[3].steps[2], "  two  spaces, tab\tand\nline ", "naïve 你好 🫖 \x00\x7f", ""])
def test_decode_inverts_encode(tokenizer, text):
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


def test_special_tokens_are_distinct_and_survive_saving(tokenizer, tmp_path):
    assert tokenizer.convert_tokens_to_ids([PAD, USER, ASSISTANT, END]) == [0, 1, 2, 3]
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert (loaded.pad_token, loaded.eos_token) == (PAD, END)
    assert encode_prompts(loaded, [DIALOGUE], 1024) == encode_prompts(tokenizer, [DIALOGUE], 1024)


def test_unusable_tokenizers_are_refused(tmp_path):
    def saved(**changes):
        tokenizer = train_tokenizer(["some text"], 300)
        for name, value in changes.items():
            setattr(tokenizer, name, value)
        tokenizer.save_pretrained(tmp_path)
        return tmp_path

    with pytest.raises(ModelError, match="pad token must exist and differ"):
        load_tokenizer(saved(pad_token=END))
    with pytest.raises(ModelError, match="pad token must exist and differ"):
        load_tokenizer(saved(pad_token=None))
    with pytest.raises(ModelError, match="no end token"):
        load_tokenizer(saved(eos_token=None))
    with pytest.raises(MissingInputError, match="nowhere"):
        load_tokenizer(tmp_path / "nowhere")


def test_tokenizer_without_chat_template_is_refused(tmp_path):
    train_tokenizer(["some text"], 300).save_pretrained(tmp_path)
    for template in tmp_path.glob("*.jinja"):
        template.unlink()
    with pytest.raises(ModelError, match="no chat template"):
        load_tokenizer(tmp_path)


def test_records_are_encoded_as_their_dialogues_and_know_their_subset(tokenizer):
    rows = [{"subset": subset, "dialogue": DIALOGUE} for subset in reversed(SUBSETS)]
    responses, finished = [["Boil it.", "No."]] * 2, [[True, False]] * 2
    groups = encode_records(tokenizer, rows, responses, 128, 1024, finished)
    assert [[sequence.subset for sequence in group] for group in groups] == [["harmless"] * 2, ["helpful"] * 2]
    plain = [[replace(sequence, subset=None) for sequence in group] for group in groups]
    assert plain == encode(tokenizer, [DIALOGUE] * 2, responses, 128, 1024, finished)
