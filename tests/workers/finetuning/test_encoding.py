import numpy as np
import pytest

from workers.finetuning.base_tokenizer import load_tokenizer
from workers.finetuning.corpus.documents import Conversation, PlainText, Turn
from workers.finetuning.encoding import ExampleEncoder

CHAT = Conversation(
    (
        Turn("system", "Be brief."),
        Turn("user", "One?", "Alice"),
        Turn("assistant", "First answer."),
        Turn("user", "Two?"),
        Turn("assistant", "Second answer."),
    )
)


@pytest.fixture(params=["tiny_gpt2_folder", "tiny_llama_folder"])
def tokenizer(request):
    return load_tokenizer(request.getfixturevalue(request.param))


def learnt_text(tokenizer, encoded) -> str:
    return tokenizer.decode(encoded.labels[encoded.labels != -100].tolist())


def test_only_answers_are_learnt_and_each_to_its_end(tokenizer):
    (encoded,) = ExampleEncoder(tokenizer, 256).encode(CHAT)
    learnt = learnt_text(tokenizer, encoded)
    assert "First answer." in learnt
    assert "Second answer." in learnt
    assert "One?" not in learnt
    assert "Alice" not in learnt
    assert encoded.labels[encoded.labels != -100][-1] == encoded.input_ids[-1]
    special = set(tokenizer.all_special_ids)
    assert special & set(encoded.input_ids[-2:].tolist())
    shared = encoded.labels != -100
    assert (encoded.labels[shared] == encoded.input_ids[shared]).all()


def test_the_prompt_is_what_generation_would_be_given(tokenizer):
    (encoded,) = ExampleEncoder(tokenizer, 256).encode(Conversation(CHAT.turns[:3]))
    first_learnt = int(np.flatnonzero(encoded.labels != -100)[0])
    prompt = tokenizer.apply_chat_template(
        [{"role": "system", "content": "Be brief."},
         {"role": "user", "content": "One?", "name": "Alice"}],
        tokenize=False, add_generation_prompt=True,
    )  # fmt: skip
    expected = tokenizer(prompt, add_special_tokens=False).input_ids
    assert encoded.input_ids[:first_learnt].tolist() == expected


def test_an_answer_of_weight_zero_is_not_learnt(tokenizer):
    turns = (*CHAT.turns[1:2], Turn("assistant", "Wrong.", trains=False), *CHAT.turns[3:])
    (encoded,) = ExampleEncoder(tokenizer, 256).encode(Conversation(turns))
    learnt = learnt_text(tokenizer, encoded)
    assert "Wrong" not in learnt
    assert "Second answer." in learnt


def test_running_text_is_learnt_whole_and_ends(tokenizer):
    (encoded,) = ExampleEncoder(tokenizer, 256).encode(PlainText("The parrot says hello."))
    assert (encoded.labels[1:] == encoded.input_ids[1:]).all()
    assert encoded.labels[0] == -100
    assert encoded.input_ids[-1] == tokenizer.eos_token_id


def test_long_text_is_cut_into_blocks_in_which_every_token_is_learnt_once(tokenizer):
    text = "The parrot says hello to everybody. " * 20
    pieces = list(ExampleEncoder(tokenizer, 16).encode(PlainText(text)))
    assert all(len(piece) <= 16 for piece in pieces)
    learnt = [int(i) for piece in pieces for i in piece.labels if i != -100]
    assert learnt == [*tokenizer(text).input_ids[1:], tokenizer.eos_token_id]
    assert not any(piece.over_long for piece in pieces)


def test_a_long_conversation_loses_its_oldest_exchange_but_not_its_system_turn(tokenizer):
    whole = ExampleEncoder(tokenizer, 1000)
    size = whole.count(CHAT).tokens
    (encoded,) = ExampleEncoder(tokenizer, size - 1).encode(CHAT)
    text = tokenizer.decode(encoded.input_ids.tolist())
    assert "First" not in text
    assert "Second answer." in text
    assert encoded.over_long


def test_one_exchange_that_is_too_long_keeps_the_end_of_the_question_and_the_start_of_the_answer(
    tokenizer,
):
    chat = Conversation(
        (Turn("user", "word " * 200 + "END"), Turn("assistant", "START" + " x" * 200))
    )
    (encoded,) = ExampleEncoder(tokenizer, 64).encode(chat)
    assert len(encoded) == 64
    assert encoded.over_long
    assert "END" in tokenizer.decode(encoded.input_ids.tolist())
    assert learnt_text(tokenizer, encoded).strip().startswith("START")


def test_a_template_without_a_system_role_is_given_its_words_in_the_question(tiny_llama_folder):
    tokenizer = load_tokenizer(tiny_llama_folder)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    (encoded,) = ExampleEncoder(tokenizer, 256).encode(CHAT)
    text = tokenizer.decode(encoded.input_ids.tolist())
    assert text.startswith("[user]Be brief.\n\nOne?[assistant]First answer.")


def test_a_template_that_rewrites_the_past_still_trains_each_answer(tiny_llama_folder):
    """Some templates drop the thoughts of earlier answers once another question follows."""
    tokenizer = load_tokenizer(tiny_llama_folder)
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' and loop.last %}"
        "<t></t>{% endif %}{{ m.content }};{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    (encoded,) = ExampleEncoder(tokenizer, 256).encode(Conversation(CHAT.turns[1:]))
    learnt = learnt_text(tokenizer, encoded)
    assert learnt.replace("<|im_end|>", "") == "<t></t>First answer.;<t></t>Second answer.;"
    text = tokenizer.decode(encoded.input_ids.tolist())
    assert text.count("First answer.") == 1
    assert "[user]Two?;[assistant]<t></t>Second" in text


def test_a_template_that_adds_to_its_prompt_gives_that_to_the_answer(tiny_llama_folder):
    """What generation would be given and training would not is not learnt to be expected."""
    tokenizer = load_tokenizer(tiny_llama_folder)
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]<think>{% endif %}"
    )
    (encoded,) = ExampleEncoder(tokenizer, 256).encode(Conversation(CHAT.turns[1:3]))
    learnt = learnt_text(tokenizer, encoded)
    assert learnt.startswith("First answer.")


def test_counts_agree_with_what_is_encoded(tokenizer):
    encoder = ExampleEncoder(tokenizer, 64)
    (encoded,) = encoder.encode(Conversation(CHAT.turns[1:3]))
    count = encoder.count(Conversation(CHAT.turns[1:3]))
    assert (count.tokens, count.over_long) == (len(encoded), False)
    assert count.trained == int((encoded.labels != -100).sum())


def test_a_persona_is_told_to_conversations_that_have_no_system_turn(tiny_llama_folder):
    tokenizer = load_tokenizer(tiny_llama_folder)
    encoder = ExampleEncoder(tokenizer, 256, persona="You are Coco.")
    (without,) = encoder.encode(Conversation(CHAT.turns[1:3]))
    (own,) = encoder.encode(CHAT)
    assert "You are Coco." in tokenizer.decode(without.input_ids.tolist())
    assert "You are Coco." not in tokenizer.decode(own.input_ids.tolist())
    assert "Coco" not in learnt_text(tokenizer, without)
