"""The onnx engine says what `generate` says, alone and among others, and stops when told to."""

import json
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxruntime_genai")

from phi_runner.model.answering import EngineFailed, Finish, Finished, Message, Piece, Prompt, Sampling
from phi_runner.model.onnx import facts
from phi_runner.model.onnx.engine import OnnxEngine
from tests import shrunk, tiny

ASK = "Who founded Microsoft?"
QUESTIONS = (ASK, "?", "Where is the sun? " * 8, "Paul Allen", "ü 你好 \U0001f600", "Please answer. " * 20)
_WAIT_S = 60


@pytest.fixture(scope="module")
def engine(exported: Path) -> Iterator[OnnxEngine]:
    """The tiny model in fp32, loaded."""
    loaded = OnnxEngine(exported, threads=1, pause_s=0.0)
    yield loaded
    loaded.close()


class Heard:
    """What an engine told of one answer."""

    def __init__(self, engine: OnnxEngine, sampling: Sampling, *, text: str = ASK) -> None:
        messages: tuple[Message, ...] = ({"role": "user", "content": text},)
        tokens = engine.tokenise(messages, max_new_tokens=sampling.max_new_tokens)
        self._told: queue.Queue[Piece] = queue.Queue()
        self.pieces: list[str] = []
        self.cancel = engine.start(Prompt(messages=messages, tokens=tokens), sampling=sampling, tell=self._told.put)

    def next(self) -> Piece:
        return self._told.get(timeout=_WAIT_S)

    def end(self) -> Finished:
        while isinstance(piece := self.next(), str):
            self.pieces.append(piece)
        assert isinstance(piece, Finished), piece
        return piece

    @property
    def text(self) -> str:
        self.end()
        return "".join(self.pieces)


def generated(model: Path, texts: Sequence[str], *, new_tokens: int) -> list[str]:
    """Return what transformers itself answers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    reference, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    said = []
    for text in texts:
        prompt: Any = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        ids = reference.generate(**prompt, max_new_tokens=new_tokens, do_sample=False)[0]
        said.append(tokenizer.decode(ids[prompt["input_ids"].shape[1] :], skip_special_tokens=True))
    return said


def test_greedy_answers_are_generates_alone_and_together(engine: OnnxEngine, tiny_model: Path) -> None:
    expected = generated(tiny_model, QUESTIONS, new_tokens=40)
    sampling = Sampling(max_new_tokens=40)
    assert [Heard(engine, sampling, text=text).text for text in QUESTIONS] == expected
    together = [Heard(engine, sampling, text=text) for text in QUESTIONS * 4]  # more than there are slots
    assert [heard.text for heard in together] == expected * 4
    assert len(together[0].pieces) > 20


def test_an_answer_that_grows_past_the_change_of_frequencies_is_generates(
    exporting: Callable[..., Path], tmp_path: Path
) -> None:
    model = shrunk.make("microsoft/Phi-3.5-mini-instruct", tmp_path / "model")
    texts = ["Name a colour and another one " * 2, "Name a colour", "Name a planet " * 40]
    loaded = OnnxEngine(exporting(model, tmp_path / "onnx"), threads=1, pause_s=0.0)
    prompts = [len(loaded.tokenise([{"role": "user", "content": text}], max_new_tokens=1)) for text in texts]
    assert max(prompts[:2]) < shrunk.SHORT_CONTEXT < min(prompts[0] + 90, prompts[1] + 90, prompts[2])
    together = [Heard(loaded, Sampling(max_new_tokens=90), text=text) for text in texts]
    assert [heard.text for heard in together] == generated(model, texts, new_tokens=90)
    loaded.close()


@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_a_seed_fixes_the_answer_whatever_else_is_answered(precision: str, request: pytest.FixtureRequest) -> None:
    loaded = OnnxEngine(
        request.getfixturevalue({"fp32": "exported", "int4": "quantised"}[precision]), threads=1, pause_s=0.0
    )
    drawn = [Sampling(max_new_tokens=20, temperature=1.5, top_p=top_p, seed=1) for top_p in (1.0, 0.9)]
    drawn += [Sampling(max_new_tokens=20, temperature=1.5, seed=seed) for seed in (2, -3)]
    alone = [Heard(loaded, sampling).text for sampling in drawn]
    crowd = [Heard(loaded, sampling) for sampling in drawn * 3]
    assert [heard.text for heard in crowd] == alone * 3
    assert len(set(alone)) >= 3
    assert Heard(loaded, Sampling(max_new_tokens=20, temperature=1.5)).text not in alone
    loaded.close()


@pytest.mark.parametrize("cold", [{"temperature": 1.0, "top_p": 1e-6}, {"temperature": 1e-30}])
def test_sampling_that_leaves_one_choice_is_greedy(engine: OnnxEngine, cold: dict[str, float]) -> None:
    drawn = Heard(engine, Sampling(max_new_tokens=12, seed=0, **cold)).text
    assert drawn == Heard(engine, Sampling(max_new_tokens=12)).text


def test_an_answer_ends_at_its_length_and_counts_its_tokens(engine: OnnxEngine) -> None:
    heard = Heard(engine, Sampling(max_new_tokens=7))
    prompt = engine.tokenise([{"role": "user", "content": ASK}], max_new_tokens=7)
    assert heard.end() == Finished(reason=Finish.length, prompt_tokens=len(prompt), completion_tokens=7)


def test_an_answer_ends_at_an_end_token(engine: OnnxEngine, exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "onnx")
    third = Heard(engine, Sampling(max_new_tokens=3))
    third.end()
    vocabulary = tiny.make_tokenizer().get_vocab()
    token = next(id_ for text, id_ in vocabulary.items() if text.replace("\u2581", " ") == third.pieces[2])
    told = json.loads((folder / facts.FILE).read_text())
    told["facts"]["stops"] = [token]
    (folder / facts.FILE).write_text(json.dumps(told))

    loaded = OnnxEngine(folder, threads=1, pause_s=0.0)
    finished = Heard(loaded, Sampling(max_new_tokens=24)).end()
    loaded.close()

    assert (finished.reason, finished.completion_tokens) == (Finish.stop, 3)


def test_a_cancelled_answer_ends_soon_and_gives_its_place_to_the_next(exported: Path) -> None:
    loaded = OnnxEngine(exported, threads=1, pause_s=0.0, slots=1)
    running, waiting = Heard(loaded, Sampling(max_new_tokens=400)), Heard(loaded, Sampling(max_new_tokens=400))
    last = Heard(loaded, Sampling(max_new_tokens=5))
    assert isinstance(running.next(), str)
    waiting.cancel()
    running.cancel()
    finished = running.end()
    assert finished.reason is Finish.cancelled
    assert finished.completion_tokens < 400
    assert waiting.end() == Finished(reason=Finish.cancelled, prompt_tokens=finished.prompt_tokens, completion_tokens=0)
    assert last.end().completion_tokens == 5
    loaded.close()


def test_closing_ends_every_answer(exported: Path) -> None:
    loaded = OnnxEngine(exported, threads=1, pause_s=0.0)
    heard = Heard(loaded, Sampling(max_new_tokens=400))
    assert isinstance(heard.next(), str)
    loaded.close()
    while isinstance(piece := heard.next(), str):
        pass
    assert isinstance(piece, EngineFailed)
    with pytest.raises(EngineFailed, match="the engine has ended"):
        Heard(loaded, Sampling(max_new_tokens=1))


def test_an_engine_that_dies_says_so_and_fails_its_answers(exported: Path) -> None:
    died: queue.Queue[BaseException] = queue.Queue()
    loaded = OnnxEngine(exported, threads=1, pause_s=0.0, on_death=died.put)
    told: queue.Queue[Piece] = queue.Queue()
    outside = Prompt(messages=(), tokens=[10_000_000])  # no such token: onnxruntime refuses to look it up
    loaded.start(outside, sampling=Sampling(max_new_tokens=4), tell=told.put)
    assert isinstance(told.get(timeout=_WAIT_S), EngineFailed)
    assert "out of" in str(died.get(timeout=_WAIT_S))


def test_other_threads_run_while_a_prompt_is_read(engine: OnnxEngine) -> None:
    heard = [Heard(engine, Sampling(max_new_tokens=200), text=ASK * 12) for _ in range(4)]
    ended = threading.Event()
    ticks = 0
    threading.Thread(target=lambda: ([item.end() for item in heard], ended.set())).start()
    while not ended.wait(0.001):
        ticks += 1
    assert ticks > 20


def test_the_process_needs_no_torch(exported: Path) -> None:
    code = (
        "import queue, sys\n"
        "from pathlib import Path\n"
        "from phi_runner.model.answering import Prompt, Sampling\n"
        "from phi_runner.model.onnx.engine import OnnxEngine\n"
        f"engine = OnnxEngine(Path({str(exported)!r}), threads=1, pause_s=0.0)\n"
        "ask = ({'role': 'user', 'content': 'Who?'},)\n"
        "told = queue.Queue()\n"
        "prompt = Prompt(messages=ask, tokens=engine.tokenise(ask, max_new_tokens=4))\n"
        "engine.start(prompt, sampling=Sampling(max_new_tokens=4), tell=told.put)\n"
        "while isinstance(told.get(timeout=60), str): pass\n"
        "engine.close()\n"
        "sys.exit('torch' in sys.modules or 'onnxruntime_genai' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)
