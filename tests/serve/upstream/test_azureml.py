"""The azureml engine's own half, against a small server that answers as Azure's does."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi_runner.errors import DeployFailed
from phi_runner.model.answering import EngineFailed, Finish, Finished
from phi_runner.serve.upstream import azureml
from phi_runner.serve.upstream.engine import UpstreamEngine
from tests.serve.rig import until
from tests.serve.upstream.rig import QUESTION, ask, azureml_engine, settings, stats


@pytest.fixture(scope="module")
def engine(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstreamEngine]:
    """An engine whose interpreter starts the tests' server instead of gunicorn."""
    python = tmp_path_factory.mktemp("bin") / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.serve.upstream.azure_server "$@"\n')
    python.chmod(0o755)
    with azureml_engine(tiny_model, python=python, code=python.parent, max_concurrent=2) as found:
        yield found


def test_the_dialogue_is_posted_and_the_answer_comes_in_one_piece(engine: UpstreamEngine) -> None:
    ear, _cancel = ask(engine)
    end = ear.end()
    assert ear.pieces == [QUESTION, end]
    count = len(engine._prompts.tokenizer.encode(QUESTION, add_special_tokens=False).ids)
    assert end == Finished(reason=Finish.stop, prompt_tokens=8, completion_tokens=count + 1)
    ear, _cancel = ask(engine, max_new_tokens=2)
    assert ear.end() == Finished(reason=Finish.length, prompt_tokens=8, completion_tokens=2)
    assert ear.text == "Who founded"


def test_the_server_is_told_what_the_cloud_tells_it(engine: UpstreamEngine, tiny_model: Path) -> None:
    told = stats(engine)["told"]
    assert told["AZUREML_MODEL_DIR"] == str(tiny_model)
    assert told["AZUREML_ENTRY_SCRIPT"] == "score.py"
    assert told["GUNICORN_CMD_ARGS"] == "--threads 2"
    assert (told["PHI_RUNNER_MAX_CONCURRENT"], engine.slots) == ("2", 2)
    assert len(told["PHI_RUNNER_TEMPLATE_HASH"]) == 64


def test_a_refusal_fails_one_answer_with_the_servers_words(engine: UpstreamEngine) -> None:
    ear, _cancel = ask(engine, "refuse me")
    end = ear.end()
    assert isinstance(end, EngineFailed)
    assert str(end) == "Azure's inference server answered 429: all slots were busy"
    assert isinstance(ask(engine)[0].end(), Finished)


def test_a_cancelled_answer_ends_when_the_server_is_done_with_it(engine: UpstreamEngine) -> None:
    before = stats(engine)
    ear, cancel = ask(engine, "slow as Azure")
    assert until(lambda: stats(engine)["begun"] == before["begun"] + 1)
    cancel()
    end = ear.end()
    assert isinstance(end, Finished)
    assert (end.reason, ear.text) == (Finish.cancelled, "")
    assert stats(engine)["ended"] == before["ended"] + 1


def test_what_was_not_prepared_is_not_started(tiny_model: Path) -> None:
    with pytest.raises(DeployFailed, match=r"^deploy\.engine=azureml was not prepared: deploy again with force="):
        azureml.open_azureml(settings(tiny_model, engine="azureml"), on_death=[].append)
