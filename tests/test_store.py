"""The store: keys, atomic publishing, damage, locks."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_runner.errors import StoreProblem
from phi_runner.store import MANIFEST_FILE, Manifest, Store, key_of

_PARTS = st.dictionaries(st.text(min_size=1), st.text(), max_size=6)


def _publish(store: Store, key: str, text: str = "hello") -> Manifest:
    (store.work_folder("train", key) / "weights.bin").write_text(text)
    return store.publish("train", key, parts={"config:train.epochs": "3"}, inputs={}, seconds=1.0)


@given(_PARTS)
def test_a_key_does_not_depend_on_the_order_of_its_parts(parts: dict[str, str]) -> None:
    assert key_of(parts) == key_of(dict(reversed(list(parts.items()))))


@given(_PARTS, st.text(min_size=1), st.text())
def test_a_key_changes_with_every_part(parts: dict[str, str], name: str, value: str) -> None:
    changed = {**parts, name: value}
    assert (key_of(changed) == key_of(parts)) == (changed == parts)


def test_a_published_result_is_found_intact(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = _publish(store, "k1")
    manifest, damage = store.look("train", "k1")
    assert manifest == made
    assert damage == ""
    assert [item.path for item in made.files] == ["weights.bin"]
    assert not list(tmp_path.glob("train/.k1.partial"))


def test_an_unpublished_result_does_not_exist(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.work_folder("train", "k1") / "weights.bin").write_text("half")
    assert store.look("train", "k1") == (None, "")
    assert (store.work_folder("train", "k1") / "weights.bin").read_text() == "half"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / "weights.bin").unlink(), "weights.bin is missing"),
        (lambda folder: (folder / "weights.bin").write_text("hello!"), "has 6 bytes instead of 5"),
        (lambda folder: (folder / "weights.bin").write_text("jello"), "weights.bin was changed"),
        (lambda folder: (folder / MANIFEST_FILE).write_text("{"), "manifest"),
        (lambda folder: (folder / MANIFEST_FILE).unlink(), "manifest"),
    ],
)
def test_damage_is_seen_and_named(tmp_path: Path, harm: object, said: str) -> None:
    store = Store(tmp_path)
    _publish(store, "k1")
    harm(store.folder("train", "k1"))  # type: ignore[operator]
    manifest, damage = store.look("train", "k1")
    assert manifest is None
    assert said in damage


def test_a_touched_but_equal_file_is_not_damage(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _publish(store, "k1")
    os.utime(store.folder("train", "k1") / "weights.bin", (1, 1))
    assert store.look("train", "k1")[0] is not None


def test_publishing_again_replaces_the_old_result(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _publish(store, "k1", "old")
    _publish(store, "k1", "new")
    assert (store.folder("train", "k1") / "weights.bin").read_text() == "new"
    assert [item.name for item in (tmp_path / "train").iterdir() if item.name.endswith(".old")] == []


def test_manifests_come_newest_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for key in ("k1", "k2"):
        _publish(store, key)
    manifest_file = store.folder("train", "k1") / MANIFEST_FILE
    values = json.loads(manifest_file.read_text())
    manifest_file.write_text(json.dumps(values | {"made_at": 1.0}))
    assert [manifest.key for manifest in store.manifests("train")] == ["k2", "k1"]


def test_a_root_that_cannot_be_a_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file in the way")
    with pytest.raises(StoreProblem, match="outputs=FOLDER"):
        Store(tmp_path / "store").work_folder("train", "k1")


def _work(root: Path, made: "multiprocessing.queues.Queue[str]") -> None:
    store = Store(root)
    waited: list[bool] = []
    with store.lock("train", "k1", on_wait=lambda: waited.append(True)):
        if store.look("train", "k1")[0] is None:
            _publish(store, "k1")
            made.put("made")
        else:
            made.put("taken")


def test_of_several_processes_one_makes_the_result_and_the_others_take_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    made = context.Queue()
    workers = [context.Process(target=_work, args=(tmp_path, made)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
        assert worker.exitcode == 0
    assert sorted(made.get(timeout=5) for _ in workers) == ["made", "taken", "taken"]
