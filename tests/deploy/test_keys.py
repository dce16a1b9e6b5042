"""The key file: made once, private from its first moment."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from phi_runner.deploy import keys
from phi_runner.errors import DeployFailed


def mode(path: Path) -> int:
    """Return the permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_long_random_and_private(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        first, second = (keys.ensure(keys.file_of(name, outputs=tmp_path)) for name in ("a", "b"))
    finally:
        os.umask(previous)
    assert first != second
    assert len(first) >= 43
    assert mode(keys.file_of("a", outputs=tmp_path)) == 0o600
    assert mode(tmp_path / "keys") == 0o700
    assert {file.name for file in (tmp_path / "keys").iterdir()} == {"a.key", "b.key"}


def test_a_key_that_is_there_is_kept(tmp_path: Path) -> None:
    file = keys.file_of("a", outputs=tmp_path)
    assert keys.ensure(file) == keys.ensure(file)


def test_two_that_start_at_once_get_one_key(tmp_path: Path) -> None:
    file = keys.file_of("a", outputs=tmp_path)
    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(keys.ensure, [file] * 4))) == 1


def test_a_key_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    file = tmp_path / "a.key"
    file.write_text("secret\n")
    file.chmod(0o644)
    assert keys.ensure(file) == "secret"
    assert mode(file) == 0o600


def test_an_empty_key_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.key").touch(mode=0o600)
    with pytest.raises(DeployFailed, match=r"a\.key is empty: delete it"):
        keys.ensure(tmp_path / "a.key")
