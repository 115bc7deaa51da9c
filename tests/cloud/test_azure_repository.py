"""Repositories in Azure Blob Storage, against azurite."""

import base64
import hashlib
import hmac
import json
import urllib.request
from email.utils import formatdate
from pathlib import Path
from uuid import uuid4

import pytest
from tests.cloud.stand_ins import ACCOUNT, ACCOUNT_KEY, Opener, contents

from atoll.errors import NotFoundError, UnavailableError

KEYS = {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_KEY": ACCOUNT_KEY, "HOME": "/nonexistent"}
MODEL = {"r/m/config.pbtxt": b"c", "r/m/1/model.onnx": b"one" * 1000, "r/n/3/model.onnx": b"three"}


@pytest.fixture
def container(azurite: str) -> str:
    """A new container with MODEL in it; its location without the path."""
    from obstore.store import AzureStore

    name = f"container-{uuid4().hex[:12]}"
    create(azurite, name)
    endpoint = f"{azurite}/{ACCOUNT}"
    store = AzureStore(
        name,
        config={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY, "endpoint": endpoint},
        client_options={"allow_http": True},
    )
    put(store, MODEL)
    return f"as://{azurite}/{ACCOUNT}/{name}"


def put(store: object, objects: dict[str, bytes]) -> None:
    import obstore

    for key, data in objects.items():
        obstore.put(store, key, data)  # type: ignore[arg-type]


def create(address: str, container: str) -> None:
    """Creates a container by a request signed with the account's key: obstore has no call for it."""
    date, version = formatdate(usegmt=True), "2021-08-06"
    resource = f"/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
    text = "\n".join(["PUT", *[""] * 11, f"x-ms-date:{date}", f"x-ms-version:{version}", resource])
    digest = hmac.new(base64.b64decode(ACCOUNT_KEY), text.encode(), hashlib.sha256).digest()
    headers = {
        "x-ms-date": date,
        "x-ms-version": version,
        "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}",
    }
    url = f"{address}/{ACCOUNT}/{container}?restype=container"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, method="PUT", headers=headers), timeout=30) as answer:
        assert answer.status == 201


def test_a_model_comes_whole_and_once(container: str, opened: Opener) -> None:
    progress: list[tuple[str, int, int]] = []
    for _ in range(2):
        repository = opened(f"{container}/r", KEYS, on_progress=lambda *step: progress.append(step))
        assert repository.names() == ["m", "n"]
        found = repository.folder("m")
        assert contents(found.directory) == {"config.pbtxt": b"c", "1/model.onnx": b"one" * 1000}
        assert sorted(found.versions) == [1]
        repository.close()
    assert {total for _, _, total in progress} == {3001}
    assert progress.count(("m", 3001, 3001)) == 1


def test_a_changed_blob_is_seen_and_comes(container: str, azurite: str, opened: Opener) -> None:
    from obstore.store import AzureStore

    repository = opened(f"{container}/r", KEYS)
    before = repository.files("m")
    repository.folder("m")
    store = AzureStore(
        container.rpartition("/")[2],
        config={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY, "endpoint": f"{azurite}/{ACCOUNT}"},
        client_options={"allow_http": True},
    )
    put(store, {"r/m/1/model.onnx": b"new", "r/m/2": b"", "r/m/4": b"", "r/m/4/model.onnx": b"four"})
    after = repository.files("m")
    assert before["config.pbtxt"] == after["config.pbtxt"]
    assert before["1/model.onnx"] != after["1/model.onnx"]
    found = repository.folder("m")
    # Accounts with folders of their own list each as an empty blob, without a slash at its end.
    assert sorted(found.versions) == [1, 2, 4]
    assert contents(found.directory) == {"config.pbtxt": b"c", "1/model.onnx": b"new", "4/model.onnx": b"four"}


def test_keys_of_the_credential_file(container: str, opened: Opener, tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    entry = {"account_str": ACCOUNT, "account_key": ACCOUNT_KEY}
    other = {"account_str": ACCOUNT, "account_key": base64.b64encode(b"another").decode()}
    file.write_text(json.dumps({"as": {"": other, container: entry}}))
    environment = {"TRITON_CLOUD_CREDENTIAL_PATH": str(file), "HOME": "/nonexistent"}
    assert opened(f"{container}/r", environment).names() == ["m", "n"]


def test_wrong_keys(container: str, opened: Opener) -> None:
    wrong = base64.b64encode(b"wrong").decode()
    with pytest.raises(
        UnavailableError, match=r"list of as://.* failed: the credentials are refused.*AZURE_STORAGE_KEY"
    ) as caught:
        opened(f"{container}/r", {**KEYS, "AZURE_STORAGE_KEY": wrong}).names()
    assert wrong not in str(caught.value)
    with pytest.raises(UnavailableError, match=r"opening of as://.* failed: the credentials are refused") as caught:
        opened(f"{container}/r", {**KEYS, "AZURE_STORAGE_KEY": "not!base64"}).names()
    assert "not!base64" not in str(caught.value)


def test_what_is_not_there(container: str, opened: Opener) -> None:
    with pytest.raises(NotFoundError, match="no such container; check the name"):
        opened(f"{container}x/r", KEYS).names()
    with pytest.raises(NotFoundError, match=r"the container '.*' has no object whose name begins with 'q/'"):
        opened(f"{container}/q", KEYS).names()
    with pytest.raises(NotFoundError, match="model 'zz' is not in as://"):
        opened(f"{container}/r", KEYS).folder("zz")
