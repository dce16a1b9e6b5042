"""The page's session without the page: asks, stops, tries again, takes back, votes, and survives every refusal."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from phi_runner.chat.asking import Side
from phi_runner.chat.conversation import State
from phi_runner.chat.feedback import Vote
from phi_runner.chat.session import Controls, Session
from phi_runner.errors import StoreProblem
from tests.flow.standin import StandIn


def side(endpoint: StandIn, **changed: object) -> Side:
    made = endpoint.endpoint
    return Side(url=made.url, label="phi/0", engine="transformers", key_file=made.key_file, **changed)


def with_session(act: Callable[[Session], Awaitable[None]], *sides: Side, **controls: object) -> None:
    """Run `act` on a session whose votes lie beside the first side's key."""

    async def run() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            session = Session(
                sides=[*sides], client=client, feedback_file=Path(sides[0].key_file).with_name("votes.jsonl"),
                controls=Controls(**{"temperature": 0.0, "max_new_tokens": 9} | controls),
            )  # fmt: skip
            await act(session)
            await session.stop()

    asyncio.run(run())


async def end(session: Session) -> None:
    while session.busy:
        await asyncio.sleep(0.01)


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not met():
            await asyncio.sleep(0.01)


def test_answer_grows_and_tells_how_it_was_made(endpoint: StandIn):
    async def act(session: Session) -> None:
        first = session.ask("Hello there").sides[0].shown
        await end(session)
        assert (first.state, first.text, first.tokens) == (State.finished, "Hello there [0 before]", 4)
        second = session.ask("Again").sides[0].shown
        await end(session)
        assert second.text == "Again [2 before]"
        assert second.told().startswith("phi/1 · transformers · temperature 0 · max 9 · 3 tokens · 0.")

    with_session(act, side(endpoint))
    assert endpoint.behaviour.bodies[1]["messages"][1] == {"role": "assistant", "content": "Hello there [0 before]"}


def test_stopped_answer_hangs_up_and_keeps_what_came(endpoint: StandIn):
    endpoint.behaviour.pause_s = 0.05

    async def act(session: Session) -> None:
        answer = session.ask("one two three four five six seven eight").sides[0].shown
        await until(lambda: answer.text.startswith("one two"))
        await session.stop()
        assert answer.state is State.stopped
        assert "eight" not in answer.text
        await until(lambda: endpoint.behaviour.hang_ups == 1)
        endpoint.behaviour.pause_s = 0.0
        session.ask("Next")
        await end(session)

    with_session(act, side(endpoint))
    assert endpoint.behaviour.bodies[-1]["messages"][1]["content"].startswith("one two")


def test_retry_keeps_the_earlier_answer_at_hand_and_asks_the_same(endpoint: StandIn):
    async def act(session: Session) -> None:
        turn = session.ask("Hello")
        await end(session)
        endpoint.behaviour.answer = "Another"
        session.retry(side=0)
        await end(session)
        [tries] = turn.sides
        assert [answer.text for answer in tries.answers] == ["Hello [0 before]", "Another"]
        assert tries.shown.text == "Another"
        tries.chosen = 0
        session.ask("Next")
        await end(session)

    with_session(act, side(endpoint))
    first, again, following = (body["messages"] for body in endpoint.behaviour.bodies)
    assert first == again
    assert following[1]["content"] == "Hello [0 before]"


def test_both_sides_answer_and_each_goes_on_from_its_own_words(endpoint: StandIn):
    async def act(session: Session) -> None:
        session.ask("Hello")
        await end(session)
        endpoint.behaviour.status = 429
        turn = session.ask("Busy?")
        await end(session)
        assert [tries.shown.state for tries in turn.sides] == [State.failed] * 2
        assert "ask again in 7 s" in turn.sides[0].shown.problem
        endpoint.behaviour.status = 200
        turn = session.ask("Now?")
        await end(session)
        assert [tries.shown.text for tries in turn.sides] == ["Now? [2 before]"] * 2
        session.retry(side=1)
        await end(session)
        assert [len(tries.answers) for tries in turn.sides] == [1, 2]

    with_session(act, side(endpoint), side(endpoint))
    assert len(endpoint.behaviour.bodies) == 7


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "refuses the key (401)"),
        (404, "is not a chat endpoint"),
        (408, "took too long (408)"),
        (413, "refuses this dialogue (413): the reason; start a new one"),
        (500, "failed (500): the reason"),
    ],
)
def test_refusal_is_told_and_the_dialogue_goes_on(endpoint: StandIn, status: int, words: str):
    async def act(session: Session) -> None:
        endpoint.behaviour.status = status
        answer = session.ask("Hello").sides[0].shown
        await end(session)
        assert answer.state is State.failed
        assert words in answer.problem
        endpoint.behaviour.status = 200
        session.retry(side=0)
        await end(session)
        assert session.conversation.turns[0].sides[0].shown.text == "Hello [0 before]"

    with_session(act, side(endpoint))


def test_endpoint_or_key_that_is_gone_is_told(endpoint: StandIn, tmp_path: Path):
    lost = Side(url=endpoint.endpoint.url, label="phi", key_file=str(tmp_path / "lost"))

    async def act(session: Session) -> None:
        session.sides[0] = lost
        keyless = session.ask("Hello").sides[0].shown
        await end(session)
        session.sides[0] = side(endpoint)
        endpoint.die()
        gone = session.ask("Hello").sides[0].shown
        await end(session)
        assert "key file" in keyless.problem
        assert "is gone (ConnectError): start it again" in gone.problem

    with_session(act, side(endpoint))


def test_answer_given_up_before_its_first_step_is_stopped(endpoint: StandIn):
    async def act(session: Session) -> None:
        answer = session.ask("Hello").sides[0].shown
        await session.stop()
        assert answer.state is State.stopped

    with_session(act, side(endpoint))


def test_turn_taken_back_is_forgotten_and_a_new_dialogue_keeps_the_system_prompt(endpoint: StandIn):
    async def act(session: Session) -> None:
        session.conversation.system = " Be brief. "
        session.ask("One")
        await end(session)
        session.ask("Two")
        await end(session)
        assert await session.take_back() == "Two"
        session.ask("Three")
        await end(session)
        await session.begin_anew()
        session.ask("Four")
        await end(session)

    with_session(act, side(endpoint))
    asked = [[message["content"] for message in body["messages"]] for body in endpoint.behaviour.bodies]
    assert asked[2] == ["Be brief.", "One", "One [1 before]", "Three"]
    assert asked[3] == ["Be brief.", "Four"]


def test_template_without_a_system_turn_is_not_sent_one(endpoint: StandIn):
    async def act(session: Session) -> None:
        session.conversation.system = "Be brief."
        session.ask("One")
        await end(session)

    with_session(act, side(endpoint, system=False))
    assert [message["role"] for message in endpoint.behaviour.bodies[0]["messages"]] == ["user"]


def test_chance_has_a_seed_that_makes_the_answer_again(endpoint: StandIn):
    async def act(session: Session) -> None:
        drawn = session.ask("One").sides[0].shown
        await end(session)
        session.controls.seed = 7
        session.ask("Two")
        await end(session)
        assert f"seed {drawn.wishes.seed}" in drawn.told()

    with_session(act, side(endpoint), temperature=0.8)
    first, second = endpoint.behaviour.bodies
    assert isinstance(first["seed"], int)
    assert second["seed"] == 7


@pytest.mark.parametrize("chat_form", [True, False])
def test_behind_azures_gateway_answers_come_whole_from_score(
    endpoint: StandIn, chat_form: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SOME_KEY", Path(endpoint.endpoint.key_file).read_text().strip())
    remote = side(endpoint, scored=True, chat_form=chat_form)

    async def act(session: Session) -> None:
        session.sides[0] = Side(
            url=remote.url, label="phi/2", key_variable="SOME_KEY", scored=True, chat_form=chat_form
        )
        session.ask("Hello")
        await end(session)
        answer = session.ask("Again").sides[0].shown
        await end(session)
        assert answer.text == ("Again [2 before]" if chat_form else "Again [0 before]")
        assert (answer.tokens, answer.label) == (None, "phi/2")

    with_session(act, remote)


def test_vote_is_kept_changed_and_taken_back(endpoint: StandIn):
    votes = Path(endpoint.endpoint.key_file).with_name("votes.jsonl")

    async def act(session: Session) -> None:
        answer = session.ask("Hello").sides[0].shown
        await end(session)
        await session.vote(answer, Vote.up)
        [row] = map(json.loads, votes.read_text().splitlines())
        assert row["messages"][-1]["content"] == "Hello [0 before]"
        assert (row["model"], row["tokens"], row["engine"]) == ("phi/1", 3, "transformers")
        kept = await session.vote(answer, Vote.down)
        assert (kept.liked, kept.disliked) == (0, 1)
        kept = await session.vote(answer, Vote.down)
        assert (kept.disliked, answer.vote) == (0, None)
        endpoint.behaviour.finish = "length"
        short = session.ask("Long").sides[0].shown
        await end(session)
        with pytest.raises(StoreProblem, match="stop in the middle"):
            await session.vote(short, Vote.up)

    with_session(act, side(endpoint))
