"""The blob servers, built-in and Azurite, driven by the real storage client: both must answer alike."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.identity import DefaultAzureCredential
from azure.storage.blob import (
    BlobClient,
    BlobServiceClient,
    ContainerClient,
    ContentSettings,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)

from phi_runner.azureml.emulator.blobs import Blobs
from phi_runner.azureml.emulator.settings import STORAGE_ACCOUNT
from tests.azureml.emulator.conftest import enter
from tests.azureml.rig import Rig, running
from tests.azureml.storage import account_key

URL = f"https://{STORAGE_ACCOUNT}.blob.core.windows.net"
SOON = timedelta(hours=1)
_AZURITE = os.environ.get("AZURITE") or shutil.which("azurite-blob")


@pytest.fixture(scope="module", params=["builtin", "azurite"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """An emulator over each of the blob servers."""
    if request.param == "azurite" and not _AZURITE:
        pytest.skip("azurite-blob is not on PATH, and AZURITE does not name it")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "azurite":
            patch.setenv("PATH", f"{Path(str(_AZURITE)).parent}:{os.environ['PATH']}")
        with running(tmp_path_factory.mktemp(request.param), blobs=request.param) as rig:
            yield enter(rig, patch)


@pytest.fixture(scope="module")
def key(store: Rig) -> str:
    return account_key(store.folder)


@pytest.fixture(scope="module")
def service(store: Rig, key: str) -> Iterator[BlobServiceClient]:
    with BlobServiceClient(URL, credential=key, retry_total=0) as service:
        yield service


@pytest.fixture
def container(service: BlobServiceClient, request: pytest.FixtureRequest) -> ContainerClient:
    name = f"c{abs(hash(request.node.nodeid)) % 10**12}"
    return service.create_container(name)


def test_containers_are_made_once_listed_and_removed(service: BlobServiceClient) -> None:
    made = service.create_container("first", metadata={"who": "me"})
    with pytest.raises(ResourceExistsError) as again:
        service.create_container("first")
    assert again.value.error_code == "ContainerAlreadyExists"
    assert made.exists()
    assert made.get_container_properties().metadata == {"who": "me"}
    assert "first" in [item.name for item in service.list_containers(name_starts_with="fir")]
    for name in ("Upper", "a--b", "ab"):
        with pytest.raises(HttpResponseError) as illegal:
            service.create_container(name)
        assert illegal.value.status_code == 400
    made.delete_container()
    assert not made.exists()
    with pytest.raises(ResourceNotFoundError) as gone:
        list(made.list_blobs())
    assert gone.value.error_code == "ContainerNotFound"


def test_a_small_blob_comes_back_with_all_that_was_said_of_it(container: ContainerClient) -> None:
    settings = ContentSettings(content_type="text/plain", cache_control="no-cache", content_language="de")
    name = "folder one/ümlaut & <angle>+plus%41.txt"
    container.upload_blob(name, b"hello", metadata={"a": "1", "b_c": "two"}, content_settings=settings)
    blob = container.get_blob_client(name)
    assert blob.download_blob().readall() == b"hello"
    found = blob.get_blob_properties()
    assert (found.size, found.metadata, found.name) == (5, {"a": "1", "b_c": "two"}, name)
    assert found.content_settings.content_type == "text/plain"
    assert found.content_settings.cache_control == "no-cache"
    assert found.content_settings.content_md5 == bytearray.fromhex("5d41402abc4b2a76b9719d911017c592")
    assert [item.name for item in container.list_blobs()] == [name]
    blob.set_blob_metadata({"upload_status": "completed"})
    assert blob.get_blob_properties().metadata == {"upload_status": "completed"}
    assert blob.get_blob_properties().size == 5
    blob.set_http_headers(ContentSettings(content_type="text/html"))
    assert blob.get_blob_properties().content_settings.content_type == "text/html"


def test_blocks_and_ranges_carry_large_blobs(store: Rig, key: str, container: ContainerClient) -> None:
    data = os.urandom(700_000) + b"end"
    sizes = {"max_single_put_size": 1 << 16, "max_block_size": 1 << 17, "max_single_get_size": 1 << 16}
    with BlobClient(
        URL, container.container_name, "big", credential=key, max_chunk_get_size=1 << 16, **sizes
    ) as blob:  # fmt: skip
        blob.upload_blob(data, max_concurrency=4)
        assert blob.download_blob(max_concurrency=4).readall() == data
        assert blob.download_blob(offset=650_000, length=100).readall() == data[650_000:650_100]
        assert blob.download_blob(offset=699_999).readall() == data[699_999:]
        with pytest.raises(HttpResponseError) as beyond:
            blob.download_blob(offset=10**6, length=10).readall()
        assert beyond.value.error_code == "InvalidRange"
        blob.stage_block("YQ==", b"one")
        blob.stage_block("Yg==", b"two")
        assert [item.id for item in blob.get_block_list("uncommitted")[1]] == ["YQ==", "Yg=="]
        assert blob.download_blob().readall() == data, "blocks change nothing before they are committed"
        blob.commit_block_list(["Yg==", "YQ=="])
        assert blob.download_blob().readall() == b"twoone"
        with pytest.raises(HttpResponseError) as unknown:
            blob.commit_block_list(["eA=="])
        assert unknown.value.error_code == "InvalidBlockList"


def test_an_empty_blob_is_read_as_nothing(container: ContainerClient) -> None:
    container.upload_blob("empty", b"")
    assert container.download_blob("empty").readall() == b""
    assert container.get_blob_client("empty").get_blob_properties().size == 0


def test_lists_go_by_prefix_delimiter_and_page(container: ContainerClient) -> None:
    names = ["a/1", "a/2", "a/b/3", "a0", "ab", "b/4", "é"]
    for name in reversed(names):
        container.upload_blob(name, b".", metadata={"n": "x"})
    assert list(container.list_blob_names()) == names
    assert list(container.list_blob_names(name_starts_with="a/")) == names[:3]
    assert list(container.list_blob_names(name_starts_with="zz")) == []
    pages = [[item.name for item in page] for page in container.list_blobs(results_per_page=3).by_page()]
    assert pages == [names[:3], names[3:6], names[6:]]
    assert sorted(item.name for item in container.walk_blobs(delimiter="/")) == ["a/", "a0", "ab", "b/", "é"]
    assert sorted(item.name for item in container.walk_blobs("a/", delimiter="/")) == ["a/1", "a/2", "a/b/"]
    folded = [[item.name for item in page] for page in container.walk_blobs(results_per_page=2).by_page()]
    assert sorted(name for page in folded for name in page) == ["a/", "a0", "ab", "b/", "é"]
    found = next(iter(container.list_blobs(include=["metadata"])))
    assert (found.metadata, found.size, found.blob_type) == ({"n": "x"}, 1, "BlockBlob")


def test_conditions_are_kept(container: ContainerClient) -> None:
    container.upload_blob("x", b"1")
    with pytest.raises(ResourceExistsError) as there:
        container.upload_blob("x", b"2")
    assert there.value.error_code == "BlobAlreadyExists"
    blob = container.get_blob_client("x")
    etag = blob.get_blob_properties().etag
    blob.upload_blob(b"3", overwrite=True)
    with pytest.raises(ResourceModifiedError):
        blob.upload_blob(b"4", overwrite=True, etag=etag, match_condition=MatchConditions.IfNotModified)
    with pytest.raises(ResourceModifiedError):
        blob.download_blob(etag=etag, match_condition=MatchConditions.IfNotModified)
    blob.delete_blob()
    with pytest.raises(ResourceNotFoundError) as gone:
        blob.get_blob_properties()
    assert gone.value.error_code == "BlobNotFound"


def test_signatures_open_what_they_name_and_no_more(key: str, container: ContainerClient) -> None:
    container.upload_blob("a/b c.txt", b"content")
    name, until = container.container_name, datetime.now(UTC) + SOON
    one = generate_blob_sas(STORAGE_ACCOUNT, name, "a/b c.txt", account_key=key, permission="r", expiry=until)
    with BlobClient(URL, name, "a/b c.txt", credential=one) as blob:
        assert blob.download_blob().readall() == b"content"
        with pytest.raises(HttpResponseError) as writing:
            blob.upload_blob(b"x", overwrite=True)
        assert (writing.value.status_code, writing.value.error_code) == (403, "AuthorizationPermissionMismatch")
    with BlobClient(URL, name, "other", credential=one) as other, pytest.raises(HttpResponseError) as foreign:
        other.get_blob_properties()
    assert foreign.value.status_code == 403
    whole = generate_container_sas(STORAGE_ACCOUNT, name, account_key=key, permission="rcwdl", expiry=until)
    with ContainerClient.from_container_url(f"{URL}/{name}?{whole}") as client:
        client.upload_blob("new", b"2")
        assert list(client.list_blob_names()) == ["a/b c.txt", "new"]
    account = generate_account_sas(STORAGE_ACCOUNT, key, resource_types="co", permission="rcuwdl", expiry=until)
    with ContainerClient(URL, name, credential=f"?{account}") as client:
        client.upload_blob("newer", b"3")
        assert len(list(client.list_blob_names())) == 3


@pytest.mark.parametrize("kind", ["none", "forged", "expired", "wrong-key", "no-list"])
def test_calls_without_a_good_credential_are_refused(key: str, container: ContainerClient, kind: str) -> None:
    name, until = container.container_name, datetime.now(UTC) + (SOON if kind != "expired" else -SOON)
    start = datetime.now(UTC) - 2 * SOON
    good = generate_container_sas(STORAGE_ACCOUNT, name, account_key=key, permission="r", start=start, expiry=until)
    forged = good.replace("sp=r&", "sp=rwdl&")
    credential = {"none": None, "forged": forged, "wrong-key": "a2V5", "expired": good, "no-list": good}[kind]
    with ContainerClient(URL, name, credential=credential, retry_total=0) as client:
        with pytest.raises(HttpResponseError) as refused:
            list(client.list_blobs())
        assert refused.value.status_code in (400, 401, 403, 404)  # Azurite: 404 to nobody, 400 to a wrong key


def test_a_bearer_token_for_storage_opens_and_one_for_another_service_does_not(
    store: Rig, container: ContainerClient
) -> None:
    container.upload_blob("x", b"1")
    with DefaultAzureCredential() as credential:
        with BlobClient(URL, container.container_name, "x", credential=credential) as blob:
            assert blob.download_blob().readall() == b"1"
        other = credential.get_token("https://management.azure.com/.default")

    class Other:
        def get_token(self, *_scopes: str, **_options: object) -> object:
            return other

    with BlobClient(URL, container.container_name, "x", credential=Other(), retry_total=0) as blob:  # type: ignore[arg-type]
        with pytest.raises(HttpResponseError) as refused:
            blob.download_blob()
        assert refused.value.status_code in (401, 403)


def test_the_emulators_own_view_reads_writes_and_copies_folders(store: Rig, key: str, tmp_path: Path) -> None:
    blobs = Blobs(key=key, proxy=store.environment["HTTPS_PROXY"], ca=Path(store.environment["SSL_CERT_FILE"]))
    blobs.make_container("azureml")
    blobs.make_container("azureml")
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/deep/x.bin").write_bytes(b"\0\1")
    (tmp_path / "in/é.txt").write_text("text", encoding="utf-8")
    assert blobs.upload(tmp_path / "in", "azureml", "jobs/j1/model") == 2
    blobs.write("azureml", "jobs/j1/model2", b"neighbour")
    assert blobs.names("azureml", "jobs/j1/") == ["jobs/j1/model/deep/x.bin", "jobs/j1/model/é.txt", "jobs/j1/model2"]
    assert blobs.download("azureml", "jobs/j1/model", tmp_path / "out") == 2
    assert (tmp_path / "out/deep/x.bin").read_bytes() == b"\0\1"
    assert blobs.download("azureml", "jobs/j1/model2", tmp_path / "one") == 1
    assert (tmp_path / "one/model2").read_bytes() == b"neighbour"
    assert blobs.read("azureml", "jobs/j1/model/é.txt") == b"text"
    with pytest.raises(ResourceNotFoundError):
        blobs.read("azureml", "nothing")
    with BlobClient.from_blob_url(blobs.sas_url("azureml", "jobs/j1/model/é.txt", "r")) as blob:
        assert blob.download_blob().readall() == b"text"
    with ContainerClient.from_container_url(blobs.sas_url("azureml", None, "rl")) as client, suppress(StopIteration):
        assert next(client.list_blob_names()) == "jobs/j1/model/deep/x.bin"
