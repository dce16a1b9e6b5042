"""What served before is known as long as it matters, and only what served to the end counts."""

from pathlib import Path

import pytest

from phi_runner.deploy import history
from phi_runner.deploy.history import Entry
from phi_runner.errors import DeployFailed


def entry(version: int) -> Entry:
    """Return something that served."""
    return Entry(label=f"phi/{version}", model=f"model-{version}", template_hash="0", settings={"max_new_tokens": 8})


def test_what_served_before_is_kept_and_bringing_it_back_can_be_taken_back(tmp_path: Path) -> None:
    file = history.file_of("local", "phi", outputs=tmp_path)
    with pytest.raises(DeployFailed, match=r"^deploy\.rollback=true: endpoint phi has served nothing before"):
        history.before(file, name="phi")
    for served in (1, 1, 2, 2):
        history.note(entry(served), file)
    assert history.before(file, name="phi") == entry(1)
    history.note(entry(1), file)
    assert history.before(file, name="phi") == entry(2)


def test_one_kind_is_forgotten_and_the_other_is_not(tmp_path: Path) -> None:
    files = {kind: history.file_of(kind, "phi", outputs=tmp_path) for kind in ("local", "azure")}
    for file in files.values():
        history.note(entry(1), file)
    history.forget("azure", outputs=tmp_path)
    assert (files["local"].exists(), files["azure"].exists()) == (True, False)


def test_a_history_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    file = history.file_of("local", "phi", outputs=tmp_path)
    file.parent.mkdir(parents=True)
    file.write_text('{"now": 1}')
    with pytest.raises(DeployFailed, match=r"history .* cannot be read .*: delete it"):
        history.before(file, name="phi")
