"""Keys: one or several, changed while the endpoint serves, and never lost by a broken file."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from phi_runner.serve.keys import KeyFile, Keys
from tests.serve.engines import SlowEngine
from tests.serve.rig import serving

BODY = {"input_data": ["hello"], "params": {"max_new_tokens": 1}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A key file."""
    return put(tmp_path / "key", "the-old-key")


def put(file: Path, *keys: str) -> Path:
    """Write keys as `deploy` does: aside, then in the old file's place."""
    aside = file.with_suffix(".new")
    aside.write_text("".join(f"{key}\n" for key in keys), encoding="ascii")
    aside.replace(file)
    return file


@pytest.fixture
def client(file: Path) -> Iterator[httpx.Client]:
    """A client of an endpoint whose keys stand in the file."""
    with serving(SlowEngine(pause_s=0), keys=KeyFile(file)) as ready:
        yield ready


def status(client: httpx.Client, key: str) -> int:
    """Ask with a key and return the status."""
    return client.post("/score", json=BODY, headers={"Authorization": f"Bearer {key}"}).status_code


def test_a_new_key_replaces_the_old_one_at_once(client: httpx.Client, file: Path) -> None:
    assert status(client, "the-old-key") == 200
    put(file, "the-new-key")
    assert (status(client, "the-old-key"), status(client, "the-new-key")) == (401, 200)


def test_two_keys_in_the_file_let_clients_change_over(client: httpx.Client, file: Path) -> None:
    put(file, "the-old-key", "the-new-key")
    assert (status(client, "the-old-key"), status(client, "the-new-key"), status(client, "no-key")) == (200, 200, 401)
    put(file, "the-new-key")
    assert status(client, "the-old-key") == 401


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"schl\xfcssel\n"])
def test_a_broken_file_leaves_the_last_good_key_and_is_told_once(
    client: httpx.Client, file: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert [status(client, "the-old-key") for _ in range(3)] == [200] * 3
    assert [status(client, key) for key in ("none", "the-new-key")] == [401] * 2
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [f"the key file {file} cannot be read" in record.getMessage() for record in told] == [True]
    put(file, "the-new-key")
    assert (status(client, "the-old-key"), status(client, "the-new-key")) == (401, 200)


def test_a_key_of_the_same_length_written_at_the_same_moment_is_seen(file: Path) -> None:
    keys, before = KeyFile(file), file.stat()
    file.write_text("the-odd-key\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [keys.know(key) for key in (b"the-old-key", b"the-odd-key")] == [False, True]


def test_a_file_without_a_key_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        KeyFile(tmp_path / "key")
    assert not Keys([]).know(b"")
