"""Batches through the tokenizer: Rust encodes one without Python's lock while Python prepares and collects others."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain

from phi_runner.model.tokens.block import Block
from phi_runner.model.tokens.dialogues import Dialogue, batches
from phi_runner.model.tokens.encode import Encoder

_THREADS = 2
"""One renders and collects while the other's batch is in Rust, which uses every core by itself."""
_AHEAD = 3
"""Batches in work at any time: the memory they take is all that grows beyond a batch."""


def encoded(encoder: Encoder, dialogues: Iterable[Dialogue]) -> Iterator[Block]:
    """Yield the dialogues' token rows in their order, a batch at a time."""
    each = batches(dialogues)
    first = next(each, None)
    if first is None:
        return
    encoder.learn(first)
    waiting: deque[Future[Block]] = deque()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="tokens") as pool:
        try:
            for batch in chain([first], each):
                waiting.append(pool.submit(encoder.encode, batch))
                if len(waiting) >= _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
