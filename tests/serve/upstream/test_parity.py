"""Every engine says the same: the real servers against the transformers engine, token for token."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from phi_runner.azureml import package
from phi_runner.config.schema import EngineName, LocalDeploy
from phi_runner.deploy import upstream
from phi_runner.errors import DeployFailed
from phi_runner.model.answering import Finished
from phi_runner.model.engines.batched import TransformersEngine
from phi_runner.serve.upstream.engine import UpstreamEngine
from phi_runner.venvs import EnvironmentNotMade
from tests.data.listening import Listening
from tests.serve.rig import until
from tests.serve.upstream.rig import ask, azureml_engine, vllm_engine

pytestmark = pytest.mark.slow
OWN = "PHI_RUNNER_TEST_AZUREML_PYTHON"
"""Names an interpreter with Azure's inference server; without it an environment is made, which takes minutes."""
CONVERSATIONS = (
    ("Who founded Microsoft?",),
    ("What is the capital of France?", "The capital of France is Paris.", "Where is the sun?"),
    ("Please answer in one short sentence.", "The model learns.", "What does the model learn?", "It.", "Who?"),
    ("  two  spaces, and a line\nbreak ",),
    ("Grüße, 北京, 🙂 and \u2028 a separator",),
    ("<|endoftext",),
    ("the sun " * 40,),
    ("?",),
    ("<b>bold</b> {{ template }} </s>",),
    ("Bill Gates and Paul Allen", "founded", "Microsoft in 1975."),
)


@pytest.fixture(scope="module")
def plain(tiny_model: Path) -> Iterator[TransformersEngine]:
    """The engine that all the others are measured by."""
    engine = TransformersEngine(tiny_model)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with Azure's inference server."""
    config = LocalDeploy(engine=EngineName.azureml, python=os.environ.get(OWN, ""))
    try:
        found = upstream.prepare(config, outputs=tmp_path_factory.mktemp("outputs"), events=Listening().events)
    except EnvironmentNotMade as err:
        pytest.skip(f"{err}; {OWN} names one that is there")
    return Path(found.engine_python)


@pytest.fixture(scope="module")
def azure(tiny_model: Path, python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstreamEngine]:
    """The real inference server with the code that is staged for the cloud."""
    code = package.stage_scoring_code(tmp_path_factory.mktemp("staged"))
    with azureml_engine(tiny_model, python=python, code=code) as engine:
        yield engine


def test_azures_server_says_what_the_transformers_engine_says(azure: UpstreamEngine, plain: TransformersEngine) -> None:
    for said in CONVERSATIONS:
        expected, heard = ask(plain, *said, max_new_tokens=24)[0], ask(azure, *said, max_new_tokens=24)[0]
        end = expected.end()
        assert isinstance(end, Finished)
        assert isinstance(heard.end(), Finished)
        assert heard.text == expected.text
        assert heard.end().prompt_tokens == end.prompt_tokens


def test_azures_server_answers_as_many_at_a_time_as_it_has_threads(azure: UpstreamEngine) -> None:
    ears = [ask(azure, said[0], max_new_tokens=8)[0] for said in CONVERSATIONS[: azure.slots]]
    assert all(isinstance(ear.end(), Finished) for ear in ears)


def test_a_worker_that_is_killed_is_replaced_and_no_answer_is_lost_without_a_word(azure: UpstreamEngine) -> None:
    [server] = psutil.Process(azure._server._child.pid).children()
    [worker] = server.children()
    ear, _cancel = ask(azure, max_new_tokens=400)
    os.kill(worker.pid, signal.SIGKILL)
    assert ear.end(within_s=120)  # failed, or answered by the next worker where this one had not taken it yet
    assert isinstance(ask(azure, max_new_tokens=4)[0].end(within_s=120), Finished)


def test_another_template_ends_azures_server_with_the_reason(tiny_model: Path, python: Path, tmp_path: Path) -> None:
    code = package.stage_scoring_code(tmp_path)
    with (
        pytest.raises(DeployFailed, match=r"DeployFailed: the model has another chat template .* before it was ready"),
        azureml_engine(tiny_model, python=python, code=code, template_hash="0" * 64),
    ):
        pass


def test_the_vllm_engine_says_what_generate_says(tiny_model: Path, plain: TransformersEngine) -> None:
    with vllm_engine(tiny_model, "--say=generate") as engine:
        for said in CONVERSATIONS:
            expected, heard = ask(plain, *said, max_new_tokens=24)[0], ask(engine, *said, max_new_tokens=24)[0]
            assert heard.end() == expected.end()
            assert heard.text == expected.text
        assert until(lambda: not engine._exchange._tasks)
