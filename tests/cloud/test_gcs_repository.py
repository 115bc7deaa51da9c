"""Repositories in Google Cloud Storage, against a small server of the XML API; the real service was never asked."""

import json
from pathlib import Path

import pytest
from tests.cloud.stand_ins import Opener, contents
from tests.cloud.xml_store import Fault, XmlStore, error_body

from atoll.errors import AtollError, NotFoundError, UnavailableError

MODEL = {"r/m/config.pbtxt": b"c", "r/m/1/a b%20\u00fc": b"one" * 1000, "r/n/3/x": b"x"}


@pytest.fixture
def store(xml_store: XmlStore) -> XmlStore:
    xml_store.objects.update(MODEL)
    return xml_store


def key_file(store: XmlStore, folder: Path) -> str:
    """A service account's key file as emulators want it: it names their address and asks for no token."""
    path = folder / "key.json"
    document = {
        "gcs_base_url": store.address,
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    path.write_text(json.dumps(document))
    return str(path)


def credential_file(store: XmlStore, folder: Path) -> dict[str, str]:
    path = folder / "credentials.json"
    path.write_text(json.dumps({"gs": {"": "/nonexistent.json", "gs://models": key_file(store, folder)}}))
    return {"TRITON_CLOUD_CREDENTIAL_PATH": str(path), "HOME": "/nonexistent"}


def test_a_model_comes_whole_and_once(store: XmlStore, opened: Opener, tmp_path: Path) -> None:
    environment = credential_file(store, tmp_path)
    repository = opened("gs://models/r", environment)
    assert repository.names() == ["m", "n"]
    found = repository.folder("m")
    assert contents(found.directory) == {"config.pbtxt": b"c", "1/a b%20\u00fc": b"one" * 1000}
    repository.close()
    store.asked.clear()
    store.objects["r/m/config.pbtxt"] = b"changed"
    assert contents(opened("gs://models/r", environment).folder("m").directory)["config.pbtxt"] == b"changed"
    assert store.gets() == ["r/m/config.pbtxt"]


def test_an_emulator_of_the_environment(store: XmlStore, opened: Opener) -> None:
    assert opened("gs://models/r", {"STORAGE_EMULATOR_HOST": store.address}).names() == ["m", "n"]
    bare = {"STORAGE_EMULATOR_HOST": store.address.removeprefix("http://")}
    assert opened("gs://models/r", bare).names() == ["m", "n"]
    assert all("authorization" not in asked.headers for asked in store.asked)


def test_what_is_not_there(store: XmlStore, opened: Opener, tmp_path: Path) -> None:
    environment = {"STORAGE_EMULATOR_HOST": store.address}
    with pytest.raises(NotFoundError, match="list of gs://other/r failed: no such bucket"):
        opened("gs://other/r", environment).names()
    with pytest.raises(NotFoundError, match="no object whose name begins with 'q/'"):
        opened("gs://models/q", environment).names()


def test_access_that_is_denied(store: XmlStore, opened: Opener) -> None:
    store.decide = lambda asked: Fault(403, error_body("AccessDenied", "no storage.objects.list"))
    with pytest.raises(
        UnavailableError, match=r"list of gs://models/r failed: access denied \(no storage.objects.list\)"
    ):
        opened("gs://models/r", {"STORAGE_EMULATOR_HOST": store.address}).names()


@pytest.mark.parametrize("content", [None, "{", "{}", "[]", '{"client_email": "x", "private_key": "no key"}'])
def test_key_files_that_are_none(opened: Opener, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "key.json"
    if content is not None:
        path.write_text(content)
    (tmp_path / "credentials.json").write_text(json.dumps({"gs": {"": str(path)}}))
    environments = [
        {"TRITON_CLOUD_CREDENTIAL_PATH": str(tmp_path / "credentials.json")},
        {"GOOGLE_APPLICATION_CREDENTIALS": str(path)},
    ]
    for environment in environments:
        with pytest.raises(AtollError, match="failed: the key file of the service account cannot be used") as caught:
            opened("gs://models/r", environment).names()
        assert next(iter(environment)) in str(caught.value)
