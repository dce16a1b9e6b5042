"""The marked templates render what the families' own do, to the byte, and mark exactly the assistant's words."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phi_runner.model import templates
from tests import shrunk

_FAMILIES = {family.name: family for family in templates.FAMILIES}
_TURNS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text(max_size=12)}),
    min_size=1, max_size=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Any]:
    return {name: shrunk.make_tokenizer(name) for name in shrunk.TEMPLATES}


def _rendered(tokenizer: Any, dialogue: list[dict[str, str]], *, template: str, ask: bool = False) -> str:
    text: str = tokenizer.apply_chat_template(
        dialogue, chat_template=template, tokenize=False, add_generation_prompt=ask
    )
    return text


def test_every_family_has_a_preset_and_a_template() -> None:
    assert set(_FAMILIES) == set(shrunk.TEMPLATES) == {each.family for each in shrunk.ARCHITECTURES.values()}


@pytest.mark.parametrize("name", shrunk.TEMPLATES)
def test_a_tokenizer_is_known_by_what_it_renders(tokenizers: dict[str, Any], name: str) -> None:
    tokenizer, family = tokenizers[name], _FAMILIES[name]
    assert templates.family_of(tokenizer) is family
    assert templates.template_for(tokenizer) == templates.marked(family)
    assert templates.end_of_turn(tokenizer) == family.stops[0] == shrunk.END_OF_TURN[name]
    assert templates.stops(tokenizer) == family.stops
    assert templates.padding(tokenizer) == family.pad
    assert family.pad not in family.stops[:1]
    assert f"end with {family.stops[0]}" in templates.described(tokenizer)


@pytest.mark.parametrize("name", shrunk.TEMPLATES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dialogue=_TURNS, ask=st.booleans())
def test_the_marks_change_no_byte(
    tokenizers: dict[str, Any], name: str, dialogue: list[dict[str, str]], ask: bool
) -> None:
    marked = templates.marked(_FAMILIES[name])
    own = _rendered(tokenizers[name], dialogue, template=shrunk.TEMPLATES[name], ask=ask)
    assert _rendered(tokenizers[name], dialogue, template=marked, ask=ask) == own


def test_phi_4_minis_tools_are_rendered_as_its_own_does(tokenizers: dict[str, Any]) -> None:
    dialogue = [
        {"role": "system", "content": "Be brief.", "tools": '[{"name": "sum"}]'},
        {"role": "tool", "content": "3"},
    ]
    own = _rendered(tokenizers["phi4_mini"], dialogue, template=shrunk.TEMPLATES["phi4_mini"])
    assert _rendered(tokenizers["phi4_mini"], dialogue, template=templates.marked(_FAMILIES["phi4_mini"])) == own
    assert '<|tool|>[{"name": "sum"}]<|/tool|>' in own


@pytest.mark.parametrize("name", ["phi3", "phi3_5"])
def test_the_originals_are_those_that_trl_knows(name: str) -> None:
    found = importlib.util.find_spec("trl")
    assert found is not None
    assert found.origin is not None
    theirs = Path(found.origin).parent / "chat_templates" / f"{name}.jinja"
    assert theirs.read_text(encoding="utf-8") == shrunk.TEMPLATES[name]


def test_another_template_is_read_the_general_way(tokenizers: dict[str, Any]) -> None:
    tokenizer = shrunk.make_tokenizer("phi3")
    tokenizer.chat_template = shrunk.TEMPLATES["phi3"].replace("<|user|>\n", "<|user|>")
    assert templates.family_of(tokenizer) is None
    assert templates.template_for(tokenizer) is None
    assert templates.stops(tokenizer) == ("<|end|>", "<|endoftext|>")
    assert "found turn by turn" in templates.described(tokenizer)


def test_a_template_that_refuses_a_shape_is_none_of_them() -> None:
    tokenizer = shrunk.make_tokenizer("phi3")
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    assert templates.family_of(tokenizer) is None
    assert templates.end_of_turn(tokenizer) == ""


def test_a_template_with_marks_of_its_own_is_used_as_it_is() -> None:
    tokenizer = shrunk.make_tokenizer("phi3")
    tokenizer.chat_template = "{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}{% endfor %}"
    assert templates.template_for(tokenizer) == tokenizer.chat_template


def test_the_end_of_a_turn_never_pads() -> None:
    tokenizer = shrunk.make_tokenizer("phi4")
    tokenizer.chat_template = shrunk.TEMPLATES["phi4"].replace("<|im_start|>user", "<|im_start|>human")
    tokenizer.pad_token = "<|im_end|>"
    assert templates.family_of(tokenizer) is None
    assert tokenizer.eos_token == "<|im_end|>"
    assert templates.padding(tokenizer) == "<|endoftext|>"
