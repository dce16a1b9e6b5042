"""The page's process: up when it is said to be, closed to other sites, its state under outputs, its port told."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from phi_runner import processes
from phi_runner.chat.page import server
from phi_runner.errors import DeployFailed
from tests.chat.page import rig
from tests.chat.page.rig import Rig
from tests.flow.standin import KEY

pytest.importorskip("nicegui")
UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig.page(tmp_path_factory.mktemp("page")) as running:
        yield running
    assert not running.running.alive()
    assert not list(running.outputs.glob("running/page-*.json"))


def test_page_is_recorded_healthy_and_holds_no_key(up: Rig):
    assert processes.find(server.KIND, up.running.name, outputs=up.outputs) == up.running
    assert httpx.get(f"{up.url}/health").json() == {"status": "ready"}
    answer = httpx.get(up.url)
    assert answer.status_code == 200
    assert KEY not in answer.text
    kept = [file for file in up.outputs.rglob("*") if file.is_file() and file.name != "endpoint.key"]
    assert kept
    assert not any(KEY in file.read_text(errors="replace") for file in kept)
    assert not Path(".nicegui").exists()


def test_answers_may_load_nothing_from_elsewhere_and_stand_in_no_frame(up: Rig):
    headers = httpx.get(up.url).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("name", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_name_that_is_not_this_machines_is_refused(up: Rig, name: str):
    answer = httpx.get(up.url, headers={"Host": name})
    assert answer.status_code == 403
    assert "NiceGUI" not in answer.text


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:1", "null"])
@pytest.mark.parametrize("upgrade", [{}, UPGRADE])
def test_other_sites_page_is_refused(up: Rig, origin: str, upgrade: dict[str, str]):
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=" + ("websocket" if upgrade else "polling")
    assert httpx.get(f"{up.url}{path}", headers={"Origin": origin, **upgrade}).status_code == 403
    assert httpx.post(f"{up.url}{path}", headers={"Origin": origin}, content="40").status_code == 403


def test_this_machines_own_names_are_let_in(up: Rig):
    port = httpx.URL(up.url).port
    for name in ("127.0.0.1", "localhost"):
        headers = {"Host": f"{name}:{port}", "Origin": f"http://{name}:{port}"}
        assert httpx.get(f"{up.url}/health", headers=headers).status_code == 200


def test_port_in_use_says_what_to_type(up: Rig):
    port = httpx.URL(up.url).port
    assert port
    wanted = rig.settings(up.endpoints, outputs=up.outputs, port=port)
    with pytest.raises(DeployFailed, match=rf"chat\.port={port} is already in use .* type chat\.port=0"):
        server.start(wanted, name="second", outputs=up.outputs, keys={})
    assert processes.find(server.KIND, up.running.name, outputs=up.outputs) == up.running
