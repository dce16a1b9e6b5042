"""Every kind of request that an endpoint under load gets, good, clumsy and hostile, and what may be answered to it."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any

from benchmarks.serving.http import Request, post

BUSY = frozenset({408, 429, 502, 503, 504})
"""What anybody may be told when there is too much to do or the engine has just died."""
_GOOD, _BAD, _TOO_LONG, _STRANGER = frozenset({200}), frozenset({400, 422}), frozenset({413}), frozenset({401})
_OVERSIZE_BYTES = 3 << 20
_OVER_LONG_WORDS = 20_000
_ANSWER_TOKENS = (4, 8, 16, 32)


class Manner(StrEnum):
    """How a client behaves."""

    plain = auto()
    slow_sender = auto()
    slow_reader = auto()
    gone_before = auto()
    """Hangs up before there is an answer."""
    gone_half_sent = auto()
    """Hangs up in the middle of its own body."""
    gone_during = auto()
    """Hangs up after the first pieces of a stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request, how it is made, and what may come back."""

    kind: str
    request: Request
    expected: frozenset[int]
    manner: Manner = Manner.plain
    prompt: str = ""
    """What is asked, where an answer is to be compared or must not come."""

    @property
    def stream(self) -> bool:
        """Say whether the answer is to come as events."""
        return b'"stream": true' in self.request.body

    @property
    def stranger(self) -> bool:
        """Say whether it has no right to a single token."""
        return self.expected == _STRANGER


class Mix:
    """Draws requests; the same seed draws the same ones."""

    def __init__(self, prompts: Sequence[str], *, key: str, seed: int) -> None:
        self._prompts = prompts
        self._key = key
        self._chance = random.Random(seed)
        self._kinds: Mapping[Callable[[], Case], int] = {
            self._chat: 14, self._stream: 14, self._score_texts: 8, self._score_dialogue: 8, self._get: 4,
            self._slow_sender: 4, self._slow_reader: 4, self._gone_before: 4, self._gone_half_sent: 2,
            self._gone_during: 4, self._oversize: 3, self._malformed: 5, self._unknown_field: 4, self._over_long: 2,
            self._stranger: 6,
        }  # fmt: skip
        self._oversize_body = json.dumps(self._chat_body("x" * _OVERSIZE_BYTES)).encode()
        self._good = [self._chat, self._stream, self._score_texts, self._score_dialogue]

    def good(self) -> Case:
        """Return a request that is to be answered by the model."""
        return self._chance.choice(self._good)()

    def any(self) -> Case:
        """Return a request of any kind."""
        [make] = self._chance.choices(list(self._kinds), weights=list(self._kinds.values()))
        return make()

    @property
    def good_share(self) -> float:
        """Return the share of requests that keep the model busy from beginning to end."""
        weights = [weight for make, weight in self._kinds.items() if make in self._good]
        return sum(weights) / sum(self._kinds.values())

    def _prompt(self) -> str:
        return self._chance.choice(self._prompts)

    def _tokens(self) -> int:
        return self._chance.choice(_ANSWER_TOKENS)

    def _chat_body(self, prompt: str, /, **more: Any) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": prompt}], "max_tokens": self._tokens(), **more}

    def _case(self, kind: str, path: str, body: Any, *, expected: frozenset[int] = _GOOD, **more: Any) -> Case:
        return Case(kind=kind, request=post(path, body, key=self._key), expected=expected, **more)

    def _chat(self) -> Case:
        prompt = self._prompt()
        return self._case("chat", "/v1/chat/completions", self._chat_body(prompt), prompt=prompt)

    def _stream(self) -> Case:
        prompt = self._prompt()
        body = self._chat_body(prompt, stream=True)
        return self._case("chat, stream", "/v1/chat/completions", body, prompt=prompt)

    def _score_texts(self) -> Case:
        prompt = self._prompt()
        body = {"input_data": [prompt], "params": {"max_new_tokens": self._tokens()}}
        return self._case("score, texts", "/score", body, prompt=prompt)

    def _score_dialogue(self) -> Case:
        prompt = self._prompt()
        asked = {
            "input_string": [{"role": "user", "content": prompt}], "parameters": {"max_new_tokens": self._tokens()}
        }  # fmt: skip
        return self._case("score, dialogue", "/score", {"input_data": asked}, prompt=prompt)

    def _get(self) -> Case:
        path = self._chance.choice(["/health/live", "/health/ready", "/v1/models", "/metrics", "/swagger.json"])
        headers = (("Authorization", f"Bearer {self._key}"),)
        return Case(kind="GET", request=Request(path=path, method="GET", headers=headers), expected=_GOOD)

    def _slow_sender(self) -> Case:
        prompt = self._prompt()
        body = self._chat_body(prompt)
        return self._case("slow sender", "/v1/chat/completions", body, manner=Manner.slow_sender, prompt=prompt)

    def _slow_reader(self) -> Case:
        prompt = self._prompt()
        body = self._chat_body(prompt, stream=True)
        return self._case("slow reader", "/v1/chat/completions", body, manner=Manner.slow_reader, prompt=prompt)

    def _gone_before(self) -> Case:
        body = self._chat_body(self._prompt(), stream=self._chance.random() < 0.5)
        return self._case("hangs up before", "/v1/chat/completions", body, manner=Manner.gone_before)

    def _gone_half_sent(self) -> Case:
        body = self._chat_body(self._prompt())
        return self._case("hangs up half sent", "/v1/chat/completions", body, manner=Manner.gone_half_sent)

    def _gone_during(self) -> Case:
        body = self._chat_body(self._prompt(), stream=True)
        return self._case("hangs up during", "/v1/chat/completions", body, manner=Manner.gone_during)

    def _oversize(self) -> Case:
        headers = (("Content-Type", "application/json"), ("Authorization", f"Bearer {self._key}"))
        announced = self._chance.random() < 0.5
        request = Request(path="/v1/chat/completions", headers=headers, body=self._oversize_body, length=announced)
        return Case(
            kind="oversize, announced" if announced else "oversize, chunked", request=request, expected=_TOO_LONG
        )

    def _malformed(self) -> Case:
        path = self._chance.choice(["/score", "/v1/chat/completions"])
        body = self._chance.choice([
            b"", b"{", b"[]", b"null", b'{"messages": 3}', b'{"input_data": 3}', b'{"messages": []}', b"\xff\xfe\x00",
            b'{"messages": [{"role": "user", "content": "\\ud800"}]}', b'{"input_data": {"input_string": [1]}}',
            b'{"messages": [{"role": "user"}]}', b"[" * 5000,
        ])  # fmt: skip
        headers = (("Content-Type", "application/json"), ("Authorization", f"Bearer {self._key}"))
        return Case(kind="malformed", request=Request(path=path, headers=headers, body=body), expected=_BAD)

    def _unknown_field(self) -> Case:
        name = self._chance.choice(["max_tokns", "functions", "best_of", "prompt", "__proto__"])
        body = self._chat_body(self._prompt(), **{name: 1})
        return self._case("unknown field", "/v1/chat/completions", body, expected=_BAD)

    def _over_long(self) -> Case:
        body = self._chat_body(" ".join(["word"] * _OVER_LONG_WORDS))
        return self._case("over-long prompt", "/v1/chat/completions", body, expected=_BAD | _TOO_LONG)

    def _stranger(self) -> Case:
        prompt = self._prompt()
        almost = self._key[:-1] + ("x" if self._key[-1] != "x" else "y")
        headers = self._chance.choice([
            (), (("api-key", almost),), (("Authorization", f"Bearer {almost}"),), (("Authorization", "Bearer"),),
            (("Authorization", f"Basic {self._key}"),), (("Authorization", f"Bearer {self._key}{'x' * 99}"),),
        ])  # fmt: skip
        body = self._chat_body(prompt, stream=self._chance.random() < 0.5)
        request = post("/v1/chat/completions", body, headers=headers)
        return Case(kind="wrong key", request=request, expected=_STRANGER, prompt=prompt)
