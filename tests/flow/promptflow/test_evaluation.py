"""How the evaluation flow compares an answer with the expected one."""

import importlib.util
import sys
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_runner.config.schema import PromptFlow
from phi_runner.flow import render
from tests.flow.test_render import spec

WORDS = st.lists(st.sampled_from(["Bill", "gates", "Paul", "1975"]), max_size=6).map(" ".join)


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    """The node's code as it is rendered, with a decorator in place of Prompt flow, whose import takes seconds."""
    core = ModuleType("promptflow.core")
    core.tool = lambda function: function  # type: ignore[attr-defined]
    spec_of_module = importlib.util.spec_from_loader("compare", loader=None)
    assert spec_of_module is not None
    module = importlib.util.module_from_spec(spec_of_module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "promptflow.core", core)
        exec(render.texts(spec(PromptFlow(batch_rows=1)))["evaluation/compare.py"], module.__dict__)
    return module


@pytest.mark.parametrize(
    ("answer", "expected", "f1"),
    [("Paris.", "Paris.", 1.0), ("a b", "b c", 0.5), ("", "", 1.0), ("", "b", 0.0), ("the THE cat", "the cat", 0.8)],
)
def test_f1_of_shared_words(compare: ModuleType, answer: str, expected: str, f1: float):
    assert compare.compare(answer, expected)["token_f1"] == pytest.approx(f1)


@given(answer=WORDS, expected=WORDS)
def test_f1_is_even_handed_and_one_only_for_the_same_words(compare: ModuleType, answer: str, expected: str):
    score = compare.token_f1(answer, expected)
    assert 0 <= score <= 1
    assert score == compare.token_f1(expected, answer)
    assert (score == 1) == (sorted(answer.lower().split()) == sorted(expected.lower().split()))


def test_exact_match_forgives_white_space_around_only(compare: ModuleType):
    assert compare.compare(" Paris.\n", "Paris.")["exact_match"] == 1
    assert compare.compare("paris.", "Paris.")["exact_match"] == 0
