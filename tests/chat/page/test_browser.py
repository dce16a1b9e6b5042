"""A person at the page, in a real browser: types, sees it grow, stops, tries again, votes, compares, on a phone too."""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chat.page import rig
from tests.chat.page.rig import Rig
from tests.chat.page.seat import DESKTOP, PHONE, Seat

pytest.importorskip("nicegui")
pytestmark = pytest.mark.slow
WORDS = "one two three four five six seven eight"


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_answer_grows_before_the_persons_eyes_and_tells_how_it_was_made(sit: Callable[..., Seat], alone: Rig):
    seat = sit(alone)
    seat.shot("desktop-greeting")
    alone.endpoints[0].behaviour.pause_s = 0.3
    seat.ask(WORDS)
    states: list[str] = []
    while not states or "before]" not in states[-1]:
        now = "".join(seat.answers())
        if not states or now != states[-1]:
            states.append(now)
        if len(states) == 4:
            seat.shot("desktop-writing")
    assert len(states) >= 4
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(states))
    seat.ended()
    seat.says("phi/1 · transformers · temperature 0 · max 128 · 10 tokens")
    seat.says("template 3fa2b1c0")
    seat.ask("Again")
    seat.says("Again [2 before]")
    seat.shot("desktop-answered")


def test_stop_hangs_up_at_the_endpoint_and_retry_asks_again(sit: Callable[..., Seat], alone: Rig):
    seat, behaviour = sit(alone), alone.endpoints[0].behaviour
    behaviour.pause_s = 0.3
    seat.ask(WORDS)
    seat.says("one two")
    seat.page.get_by_role("button", name="Stop").click()
    seat.says("[stopped]")
    seat.ended()
    assert "eight" not in seat.answers()[0]
    for _ in range(50):
        if behaviour.hang_ups:
            break
        seat.page.wait_for_timeout(50)
    assert behaviour.hang_ups == 1
    behaviour.pause_s = 0.0
    seat.page.get_by_role("button", name="Retry").click()
    seat.says("eight [0 before]")
    seat.says("2/2")
    seat.page.get_by_role("button", name="Earlier answer").click()
    seat.says("1/2")
    assert "eight" not in seat.answers()[0]


def test_votes_become_rows_and_a_pair(sit: Callable[..., Seat], alone: Rig):
    seat, behaviour = sit(alone), alone.endpoints[0].behaviour
    seat.ask("Name a planet.")
    seat.ended()
    down = seat.page.get_by_role("button", name="Bad answer")
    down.click()
    seat.says("kept: liked 0, disliked 1, pairs 0")
    assert down.get_attribute("aria-pressed") == "true"
    behaviour.answer = "Saturn."
    seat.page.get_by_role("button", name="Retry").click()
    seat.says("Saturn.")
    seat.ended()
    seat.page.get_by_role("button", name="Good answer").click()
    seat.says("kept: liked 1, disliked 1, pairs 1")
    seat.shot("desktop-voted")
    question = {"role": "user", "content": "Name a planet."}
    [row] = rows(alone.votes)
    assert row["messages"] == [question, {"role": "assistant", "content": "Saturn."}]
    [pair] = rows(alone.votes.with_name("votes.pairs.jsonl"))
    assert pair["rejected"] == [{"role": "assistant", "content": "Name a planet. [0 before]"}]


def test_keyboard_alone_is_enough(sit: Callable[..., Seat], alone: Rig):
    seat = sit(alone)
    keyboard = seat.page.keyboard
    focused = "document.activeElement.getAttribute('aria-label')"
    assert seat.page.evaluate(focused) == "Message"
    keyboard.type("line one")
    keyboard.press("Shift+Enter")
    keyboard.type("line two")
    keyboard.press("Enter")
    seat.ended()
    assert alone.endpoints[0].behaviour.bodies[-1]["messages"][0]["content"] == "line one\nline two"
    assert seat.field.input_value() == ""
    reached = []
    for _ in range(6):
        keyboard.press("Shift+Tab")
        reached.append(seat.page.evaluate(focused))
    assert reached == ["Retry", "Copy", "Bad answer", "Good answer", "Take back and edit", "Conversation"]
    keyboard.press("Tab")
    keyboard.press("Tab")
    assert seat.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    seat.shot("desktop-focus")
    keyboard.press("Enter")
    seat.says("kept: liked 1")
    assert seat.page.evaluate(focused) == "Good answer"
    alone.endpoints[0].behaviour.pause_s = 0.3
    seat.ask(WORDS)
    seat.says("one two")
    keyboard.press("Escape")
    seat.says("[stopped]")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (429, "the endpoint is busy (429): ask again in 7 s"),
        (413, "the endpoint refuses this dialogue (413): the reason; start a new one"),
        (408, "the endpoint took too long (408)"),
        (401, "refuses the key (401)"),
    ],
)
def test_refusal_is_said_in_words_and_the_dialogue_goes_on(
    sit: Callable[..., Seat], alone: Rig, status: int, words: str
):
    seat, behaviour = sit(alone), alone.endpoints[0].behaviour
    behaviour.status = status
    seat.ask("Hello")
    seat.says(words)
    seat.shot(f"desktop-refused-{status}")
    behaviour.status = 200
    seat.ask("Hello again")
    seat.says("Hello again [0 before]")


def test_new_dialogue_edit_and_a_page_loaded_again(sit: Callable[..., Seat], alone: Rig):
    seat = sit(alone)
    seat.ask("First")
    seat.says("First [0 before]")
    seat.ended()
    seat.page.reload()
    seat.says("First [0 before]")
    seat.ask("Secnd")
    seat.says("Secnd [2 before]")
    seat.ended()
    seat.page.get_by_role("button", name="Take back and edit").last.click()
    seat.page.wait_for_function("document.querySelector('textarea').value == 'Secnd'")
    seat.ask("Second")
    seat.says("Second [2 before]")
    seat.ended()
    seat.page.get_by_role("button", name="New dialogue").click()
    seat.says("Ask phi/1")
    seat.ask("Third")
    seat.says("Third [0 before]")


def test_settings_count_from_the_next_answer_on(sit: Callable[..., Seat], alone: Rig):
    seat = sit(alone, size=PHONE)
    seat.page.get_by_role("button", name="Settings").click()
    seat.page.get_by_label("Longest answer in tokens").fill("33")
    seat.page.get_by_label("Seed").fill("5")
    seat.page.get_by_label("System prompt").fill("Be brief.")
    seat.page.get_by_label("Temperature").fill("9")
    seat.says("from 0 to 2")
    seat.page.get_by_label("Temperature").fill("0.7")
    seat.shot("phone-settings")
    assert seat.fits()
    seat.page.keyboard.press("Escape")
    seat.page.get_by_label("System prompt").wait_for(state="hidden")
    seat.ask("Hello")
    seat.says("temperature 0.7 · max 33 · seed 5")
    sent = alone.endpoints[0].behaviour.bodies[-1]
    assert (sent["temperature"], sent["max_tokens"], sent["seed"]) == (0.7, 33, 5)
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}


def test_models_words_are_shown_and_do_nothing(sit: Callable[..., Seat], alone: Rig):
    seat, behaviour = sit(alone), alone.endpoints[0].behaviour
    behaviour.answer = (
        '<img src="http://elsewhere.example/a.png"> ![b](http://elsewhere.example/b.png) **bold** '
        "<script>document.title='taken'</script> [link](javascript:alert(1))\n\n```\ncode <b>\n```"
    )
    seat.ask("<b>Hello</b>")
    seat.says("<script>document.title='taken'</script>")
    seat.says("code <b>")
    seat.ended()
    assert seat.page.locator(".chat-text img, .chat-text script, a[href^=javascript]").count() == 0
    assert seat.page.locator(".chat-text strong").inner_text() == "bold"
    assert seat.page.title() == "Chat"
    assert seat.page.locator(".chat-said").inner_text() == "<b>Hello</b>"
    seat.shot("desktop-markup")


@pytest.mark.parametrize(("name", "size"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_base_and_tuned_answer_side_by_side(sit: Callable[..., Seat], compared: Rig, name: str, size: dict[str, int]):
    seat = sit(compared, size=size, color_scheme="dark" if name == "phone" else "light")
    seat.ask("Name a planet.")
    seat.says("tuned: phi/1")
    seat.says("base: phi-base/1")
    seat.ended()
    tuned, base = (seat.page.locator(".chat-answer").nth(side) for side in (0, 1))
    left, right = tuned.bounding_box(), base.bounding_box()
    assert left
    assert right
    assert (right["x"] >= left["x"] + left["width"]) if size is DESKTOP else (right["y"] >= left["y"] + left["height"])
    assert seat.fits()
    compared.endpoints[0].behaviour.answer, compared.endpoints[1].behaviour.answer = "Saturn.", "The Moon."
    seat.page.get_by_role("button", name="New dialogue").click()
    seat.ask("Name a planet.")
    seat.says("The Moon.")
    seat.ended()
    tuned.get_by_role("button", name="Good answer").click()
    base.get_by_role("button", name="Bad answer").click()
    seat.says("kept: liked 1, disliked 1, pairs 1")
    seat.shot(f"{name}-compared")
    [pair] = rows(compared.votes.with_name("votes.pairs.jsonl"))
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == ("Saturn.", "The Moon.")


def test_long_dialogue_on_a_phone_keeps_its_end_in_view(sit: Callable[..., Seat], alone: Rig):
    seat, behaviour = sit(alone, size=PHONE, has_touch=True, is_mobile=True), alone.endpoints[0].behaviour
    behaviour.answer = "word " * 200 + "the-very-end " + "W" * 120
    for number in range(3):
        seat.ask(f"Question {number}")
        seat.page.locator(".chat-turn").nth(number).locator(".chat-actions").wait_for()
    assert seat.fits()
    made = seat.page.locator(".chat-made").last
    box, field = made.bounding_box(), seat.field.bounding_box()
    assert box
    assert field
    assert box["y"] + box["height"] <= field["y"]
    seat.shot("phone-long")
    assert re.search("the-very-end", seat.answers()[-1])


def test_endpoint_that_goes_away_is_told(sit: Callable[..., Seat], tmp_path: Path):
    with rig.page(tmp_path) as doomed:
        seat = sit(doomed)
        seat.ask("Hello")
        seat.ended()
        doomed.endpoints[0].die()
        seat.ask("Still there?")
        seat.says("is gone (ConnectError): start it again with +recipe=chat")
        seat.shot("desktop-gone")
        assert seat.answers() == ["Hello [0 before]"]
