"""Token rows: exactly the assistant's words are learnt, and a cut dialogue keeps an answer."""

from dataclasses import replace
from typing import Any

import pytest

from phi_runner.errors import TrainFailed
from phi_runner.model import templates, tokens
from phi_runner.model.tokens import exact, form, spans
from phi_runner.model.tokens.encode import Encoder
from tests.model.tokens.chats import CHATS, make_tokenizer, numbered

_TEMPLATES = {
    "phi3": None,
    # Phi-3-medium: the user's turn opens the assistant's; system turns are not rendered.
    "phi3_medium": (
        "{% for message in messages %}{% if (message['role'] == 'user') %}{{'<|user|>' + '\n' + message['content'] + "
        "'<|end|>' + '\n' + '<|assistant|>' + '\n'}}{% elif (message['role'] == 'assistant') %}"
        "{{message['content'] + '<|end|>' + '\n'}}{% endif %}{% endfor %}"
    ),
    # Phi-4-mini: no line breaks, the end of text closes the dialogue.
    "phi4_mini": (
        "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
    ),
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


def _learnt(tokenizer: Any, ids: list[int], labels: list[int]) -> str:
    assert all(label in (tokens.IGNORED, token) for token, label in zip(ids, labels, strict=True))
    return str(tokenizer.decode([label for label in labels if label != tokens.IGNORED]))


@pytest.mark.parametrize("name", _TEMPLATES)
def test_exactly_the_answers_and_their_end_are_learnt(tokenizer: Any, name: str) -> None:
    original = tokenizer.chat_template
    tokenizer.chat_template = _TEMPLATES[name] or original
    try:
        rows = tokens.tokenise(tokenizer, CHATS, max_length=512)
    finally:
        tokenizer.chat_template = original
    for chat, ids, labels in zip(CHATS, rows.input_ids, rows.labels, strict=True):
        learnt = _learnt(tokenizer, ids, labels)
        answers = [message["content"] for message in chat if message["role"] == "assistant"]
        assert learnt.count("<|end|>") == len(answers)
        assert [part.strip() for part in learnt.replace("<|endoftext|>", "").split("<|end|>")[:-1]] == [
            answer.strip() for answer in answers
        ]
        for message in chat:
            if message["role"] != "assistant":
                assert message["content"] not in learnt


def test_labels_equal_those_of_trls_own_training_template(tokenizer: Any) -> None:
    import trl

    file = f"{trl.__path__[0]}/chat_templates/phi3_training.jinja"
    with open(file, encoding="utf-8") as stream:
        template = stream.read()
    # Leading blanks are swallowed by the role token before them; TRL then learns that token too, we do not.
    chats = [[{**message, "content": message["content"].strip()} for message in chat] for chat in CHATS]
    rows = tokens.tokenise(tokenizer, chats, max_length=512)
    for chat, ids, labels in zip(chats, rows.input_ids, rows.labels, strict=True):
        theirs = tokenizer.apply_chat_template(
            chat, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        assert ids == theirs["input_ids"]
        assert [label != tokens.IGNORED for label in labels] == [bool(bit) for bit in theirs["assistant_masks"]]


def test_our_template_is_phi3s_to_the_byte(tokenizer: Any) -> None:
    import trl

    with open(f"{trl.__path__[0]}/chat_templates/phi3.jinja", encoding="utf-8") as stream:
        assert tokenizer.chat_template == stream.read()


def test_everything_is_learnt_when_asked(tokenizer: Any) -> None:
    rows = tokens.tokenise(tokenizer, CHATS, max_length=512, assistant_only=False)
    assert list(rows.labels) == list(rows.input_ids)


def test_a_long_dialogue_is_cut_behind_an_answer(tokenizer: Any) -> None:
    whole = tokens.tokenise(tokenizer, CHATS[1:], max_length=512)
    cut = tokens.tokenise(tokenizer, CHATS[1:], max_length=len(whole.input_ids[0]) - 1)
    assert (cut.shortened, cut.dropped) == (1, 0)
    text = tokenizer.decode(cut.input_ids[0])
    assert "Venus" in text
    assert "你好" not in text
    assert _learnt(tokenizer, cut.input_ids[0], cut.labels[0]).count("<|end|>") == 2


def test_a_long_only_answer_keeps_its_beginning(tokenizer: Any) -> None:
    chat = [{"role": "user", "content": "Go."}, {"role": "assistant", "content": "word " * 200}]
    rows = tokens.tokenise(tokenizer, [chat], max_length=40)
    assert (rows.shortened, rows.dropped) == (1, 0)
    assert len(rows.input_ids[0]) == len(rows.labels[0]) == 40
    assert sum(label != tokens.IGNORED for label in rows.labels[0]) >= 8


def test_a_question_that_leaves_no_room_for_an_answer_is_dropped_and_counted(tokenizer: Any) -> None:
    chat = [{"role": "user", "content": "word " * 200}, {"role": "assistant", "content": "Yes."}]
    rows = tokens.tokenise(tokenizer, [chat, CHATS[0]], max_length=60)
    assert (rows.shortened, rows.dropped, len(rows.input_ids)) == (0, 1, 1)


def test_a_template_that_rewrites_earlier_turns_is_refused_with_the_way_out(tokenizer: Any) -> None:
    original = tokenizer.chat_template
    tokenizer.chat_template = "{{ messages | length }}: {% for m in messages %}{{ m['content'] }}<|end|>{% endfor %}"
    try:
        with pytest.raises(TrainFailed, match="assistant_only_loss=false"):
            tokens.tokenise(tokenizer, CHATS, max_length=512)
    finally:
        tokenizer.chat_template = original


@pytest.mark.parametrize("family", templates.FAMILIES, ids=lambda family: family.name)
def test_the_fast_way_is_found_for_every_family_and_gives_what_the_exact_way_gives(family: templates.Family) -> None:
    tokenizer, chats = make_tokenizer(), [*numbered(60), *CHATS]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_sep|>", "<|im_end|>"]})
    tokenizer.chat_template = templates.marked(family)
    known = exact.encode(tokenizer, chats)
    found = form.learn(tokenizer, chats[:8], known=exact.encode(tokenizer, chats[:8]))
    assert found is not None
    assert found.ending is not None
    if family.name == "phi3_medium":  # leaves system turns out, which none of the examples has
        found = replace(found, system=False)
    seen = found.labels(known.ids, known.lengths, chats)
    assert seen is not None
    assert seen[0].tolist() == known.labels.tolist()


@pytest.mark.parametrize("name", _TEMPLATES)
def test_fast_cuts_are_the_exact_ones(tokenizer: Any, name: str) -> None:
    original, chats = tokenizer.chat_template, numbered(40)
    tokenizer.chat_template = _TEMPLATES[name] or original
    try:
        fast = Encoder(tokenizer, max_length=40, assistant_only=True)
        fast.learn(chats)
        slow = Encoder(tokenizer, max_length=40, assistant_only=True)  # has learnt nothing, so it goes by offsets
        found, wanted = fast.encode(chats), slow.encode(chats)
    finally:
        tokenizer.chat_template = original
    assert found.shortened == wanted.shortened > 0
    assert found.dropped == wanted.dropped
    assert found.lengths.max() <= 40
    for one, other in ((found.ids, wanted.ids), (found.labels, wanted.labels), (found.lengths, wanted.lengths)):
        assert one.tolist() == other.tolist()


def test_a_control_token_in_a_text_does_not_shift_the_labels(tokenizer: Any) -> None:
    """The data stage refuses such rows; whoever hands them over still gets the labels of the offsets."""
    odd = [{"role": "user", "content": "Say <|assistant|> now"}, {"role": "assistant", "content": "No, thank you."}]
    encoder = Encoder(tokenizer, max_length=512, assistant_only=True)
    encoder.learn(CHATS)
    assert encoder.encode([CHATS[0], odd]).labels.tolist() == exact.encode(tokenizer, [CHATS[0], odd]).labels.tolist()


def test_markers_and_comparing_texts_find_the_same_answers(tokenizer: Any) -> None:
    texts = spans.render(tokenizer, CHATS)
    assert templates.template_for(tokenizer) is not None
    for chat, text, marked in zip(CHATS, texts, spans.answers(tokenizer, CHATS, texts), strict=True):
        compared = spans._compared(tokenizer, chat, text)
        # what is compared agrees up to the first letter of the next control token, of which no part is a token
        said = ["".join(text[start:end].removesuffix("<|") for start, end in found) for found in (marked, compared)]
        assert said[0] == said[1]


def test_a_template_that_rewrites_earlier_turns_can_be_learnt_as_a_whole(tokenizer: Any) -> None:
    original = tokenizer.chat_template
    tokenizer.chat_template = "{{ messages | length }}: {% for m in messages %}{{ m['content'] }}<|end|>{% endfor %}"
    try:
        rows = tokens.tokenise(tokenizer, CHATS, max_length=30, assistant_only=False)
    finally:
        tokenizer.chat_template = original
    assert list(rows.labels) == list(rows.input_ids)
    assert (rows.shortened, rows.dropped, rows.lengths.max() <= 30) == (1, 0, True)
