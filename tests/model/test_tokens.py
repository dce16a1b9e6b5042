"""Token rows: exactly the assistant's words are learnt, and a cut dialogue keeps an answer."""

from typing import Any

import pytest

from phi_runner.errors import TrainFailed
from phi_runner.model import tokenizer as bpe
from phi_runner.model import tokens

_CHATS: list[list[dict[str, str]]] = [
    [
        {"role": "user", "content": "Who founded Microsoft?"},
        {"role": "assistant", "content": "Bill Gates and Paul Allen."},
    ],
    [
        {"role": "system", "content": "Answer shortly."},
        {"role": "user", "content": "Name a planet."},
        {"role": "assistant", "content": "Mars."},
        {"role": "user", "content": "Another one,\nplease."},
        {"role": "assistant", "content": "  Venus, with spaces.  "},
        {"role": "user", "content": "Ünïcode 你好 😀?"},
        {"role": "assistant", "content": "Ünïcode 你好 😀\n\n- and\n- lines"},
    ],
]

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
    texts = [message["content"] for chat in _CHATS for message in chat]
    return bpe.train(texts, vocab_size=450, context=512)


def _learnt(tokenizer: Any, ids: list[int], labels: list[int]) -> str:
    assert all(label in (tokens.IGNORED, token) for token, label in zip(ids, labels, strict=True))
    return str(tokenizer.decode([label for label in labels if label != tokens.IGNORED]))


@pytest.mark.parametrize("name", _TEMPLATES)
def test_exactly_the_answers_and_their_end_are_learnt(tokenizer: Any, name: str) -> None:
    original = tokenizer.chat_template
    tokenizer.chat_template = _TEMPLATES[name] or original
    try:
        rows = tokens.tokenise(tokenizer, _CHATS, max_length=512)
    finally:
        tokenizer.chat_template = original
    for chat, ids, labels in zip(_CHATS, rows.input_ids, rows.labels, strict=True):
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
    chats = [[{**message, "content": message["content"].strip()} for message in chat] for chat in _CHATS]
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
    rows = tokens.tokenise(tokenizer, _CHATS, max_length=512, assistant_only=False)
    assert rows.labels == rows.input_ids


def test_a_long_dialogue_is_cut_behind_an_answer(tokenizer: Any) -> None:
    whole = tokens.tokenise(tokenizer, _CHATS[1:], max_length=512)
    cut = tokens.tokenise(tokenizer, _CHATS[1:], max_length=len(whole.input_ids[0]) - 1)
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
    rows = tokens.tokenise(tokenizer, [chat, _CHATS[0]], max_length=60)
    assert (rows.shortened, rows.dropped, len(rows.input_ids)) == (0, 1, 1)


def test_a_template_that_rewrites_earlier_turns_is_refused_with_the_way_out(tokenizer: Any) -> None:
    original = tokenizer.chat_template
    tokenizer.chat_template = "{{ messages | length }}: {% for m in messages %}{{ m['content'] }}<|end|>{% endfor %}"
    try:
        with pytest.raises(TrainFailed, match="assistant_only_loss=false"):
            tokens.tokenise(tokenizer, _CHATS, max_length=512)
    finally:
        tokenizer.chat_template = original
