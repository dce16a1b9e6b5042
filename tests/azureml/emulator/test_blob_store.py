"""What the blob store keeps over a restart, and what it clears away."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from phi_runner.azureml.emulator.blob_store import BlobStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BlobStore]:
    with closing(BlobStore(tmp_path)) as store:
        yield store


def put(store: BlobStore, name: str, content: bytes) -> None:
    file = store.new_file()
    file.write_bytes(content)
    store.put("box", name, file=file, headers={"Content-Type": "text/plain"}, metadata={"a": "b"})


def test_blobs_and_blocks_outlive_the_server_and_cut_off_uploads_do_not(store: BlobStore, tmp_path: Path) -> None:
    store.make_container("box", metadata={})
    put(store, "a", b"old")
    put(store, "a", b"new")
    block = store.new_file()
    block.write_bytes(b"block")
    store.put_block("box", "b", block="1", file=block)
    cut_off = store.new_file()
    cut_off.write_bytes(b"half")
    with closing(BlobStore(tmp_path)) as again:
        found = again.blob("box", "a")
        assert found
        assert found.file.read_bytes() == b"new"
        assert (found.metadata, found.headers, found.size) == ({"a": "b"}, {"Content-Type": "text/plain"}, 3)
        assert again.blocks("box", "b") == [("1", 5)]
        assert not cut_off.exists()
    assert len(list((tmp_path / "data").iterdir())) == 2


def test_a_removed_container_takes_its_files_and_no_upload_in_progress(store: BlobStore, tmp_path: Path) -> None:
    for name in ("box", "other"):
        store.make_container(name, metadata={})
    put(store, "a", b"1")
    upload = store.new_file()
    upload.write_bytes(b"being written")
    store.remove_container("box")
    assert list((tmp_path / "data").iterdir()) == [upload]
    assert [item.name for item in store.containers()] == ["other"]


def test_joining_needs_every_block(store: BlobStore) -> None:
    store.make_container("box", metadata={})
    for name in ("1", "2"):
        file = store.new_file()
        file.write_bytes(name.encode())
        store.put_block("box", "b", block=name, file=file)
    assert store.join("box", "b", blocks=["1", "3"]) is None
    joined = store.join("box", "b", blocks=["2", "1", "2"])
    assert joined
    assert joined.read_bytes() == b"212"
