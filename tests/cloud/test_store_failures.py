"""Object stores that refuse, stall, vanish and change: each gives its own short error, and no model comes half."""

import re
import socket
import threading
from pathlib import Path

import pytest
from tests.cloud.stand_ins import AWS, IMPATIENT, Opener, contents
from tests.cloud.xml_store import Asked, Fault, XmlStore, error_body

from atoll.errors import AtollError, ConfigError, NotFoundError, UnavailableError
from atoll.repositories import object_download, object_store

MODEL = {"r/m/config.pbtxt": b'name: "m"', "r/m/1/model.onnx": b"0123456789" * 10_000}
FILES = {"config.pbtxt": MODEL["r/m/config.pbtxt"], "1/model.onnx": MODEL["r/m/1/model.onnx"]}


@pytest.fixture
def store(xml_store: XmlStore, monkeypatch: pytest.MonkeyPatch) -> XmlStore:
    monkeypatch.setattr(object_download, "PAUSE_S", 0.01)
    xml_store.objects.update(MODEL)
    return xml_store


def here(store: XmlStore) -> str:
    return f"s3://{store.address}/models/r"


def is_get(asked: Asked) -> bool:
    return asked.method == "GET" and bool(asked.key)


def nothing_half(cache: Path) -> None:
    """No state of any model, and no unfinished file, is in the cache."""
    assert not [path for path in cache.rglob("*") if path.name.endswith(".part")]
    assert not list(cache.glob("*/models/*/states/*"))


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            403,
            error_body("AccessDenied", "User x may not list"),
            r"access denied \(User x may not list\).*AWS_ACCESS_KEY_ID",
        ),
        (
            403,
            error_body("InvalidAccessKeyId"),
            r"the credentials are refused \(InvalidAccessKeyId\); check key and secret",
        ),
        (403, error_body("SignatureDoesNotMatch"), "the credentials are refused"),
        (400, error_body("ExpiredToken"), "the credentials have expired"),
        (403, error_body("RequestTimeTooSkewed"), "clock"),
        (403, "", "access denied; grant"),
        (401, "", "the store asks for credentials"),
        (301, error_body("PermanentRedirect"), "another region.*AWS_DEFAULT_REGION"),
        (400, error_body("AuthorizationHeaderMalformed") + "<Region>eu-west-1</Region>", "another region, eu-west-1"),
        (500, error_body("InternalError"), r"the store failed \(HTTP 500\); try again"),
        (503, error_body("SlowDown"), "overloaded"),
        (200, "no XML <", "the answer is not that of an object store"),
        (418, "", r"418"),
    ],
)
def test_answers_that_are_errors(store: XmlStore, opened: Opener, status: int, body: str, expected: str) -> None:
    store.decide = lambda asked: Fault(status, body)
    with pytest.raises(AtollError, match=expected) as caught:
        opened(here(store)).names()
    assert re.match(rf"list of s3://{store.address}/models/r failed: ", str(caught.value))
    assert len(str(caught.value)) < 500
    assert AWS["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


def test_a_listing_may_fail_once(store: XmlStore, opened: Opener) -> None:
    store.decide = lambda asked: Fault(503) if len(store.asked) == 1 else None
    assert opened(here(store)).names() == ["m"]


def test_a_store_that_is_not_there(opened: Opener) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    location = f"s3://127.0.0.1:{port}/models/r"
    for call in (lambda one: one.names(), lambda one: one.files("m"), lambda one: one.folder("m")):
        with pytest.raises(
            UnavailableError, match=rf"list of s3://http://127.0.0.1:{port}/models/r.* failed: connection refused;"
        ):
            call(opened(location))


def test_a_store_whose_host_is_unknown(opened: Opener) -> None:
    with pytest.raises(UnavailableError, match="failed: its host name is unknown"):
        opened("s3://no-such-host.invalid:9000/models").names()


def test_a_store_that_accepts_and_says_nothing(store: XmlStore, opened: Opener) -> None:
    over = threading.Event()
    store.decide = lambda asked: Fault(silence=over)
    try:
        with pytest.raises(UnavailableError, match=r"list of .* failed: timed out; check that"):
            opened(here(store), patience=IMPATIENT).names()
    finally:
        over.set()


def test_a_download_that_stalls(store: XmlStore, opened: Opener, tmp_path: Path) -> None:
    over = threading.Event()
    store.decide = lambda asked: Fault(silence=over) if is_get(asked) else None
    try:
        with pytest.raises(UnavailableError, match=r"get of .*/r/m/.* failed: timed out"):
            opened(here(store), patience=IMPATIENT).folder("m")
    finally:
        over.set()
    nothing_half(tmp_path / "cache")


def test_a_connection_that_breaks_off_is_taken_up_where_it_was(store: XmlStore, opened: Opener) -> None:
    broken = []

    def decide(asked: Asked) -> Fault | None:
        if asked.key.endswith("model.onnx") and not broken:
            broken.append(asked)
            return Fault(after=50_000)
        return None

    store.decide = decide
    assert contents(opened(here(store)).folder("m").directory) == FILES
    assert broken


def test_a_store_that_vanishes_for_good_in_the_middle(store: XmlStore, opened: Opener, tmp_path: Path) -> None:
    store.decide = lambda asked: Fault(after=5000) if asked.key.endswith("model.onnx") else None
    with pytest.raises(UnavailableError, match=r"get of .*/r/m/1/model.onnx failed: .*broke off"):
        opened(here(store)).folder("m")
    nothing_half(tmp_path / "cache")

    store.decide = lambda asked: None
    store.asked.clear()
    assert contents(opened(here(store)).folder("m").directory) == FILES
    assert set(store.gets()) == {"r/m/1/model.onnx"}  # what had come whole is not asked for again


def test_an_object_that_changes_between_its_listing_and_its_download(store: XmlStore, opened: Opener) -> None:
    def decide(asked: Asked) -> Fault | None:
        if is_get(asked) and len(store.gets()) == 1:
            store.objects |= {"r/m/1/model.onnx": b"new model", "r/m/config.pbtxt": b"new config"}
        return None

    store.decide = decide
    found = contents(opened(here(store)).folder("m").directory)
    assert found == {"1/model.onnx": b"new model", "config.pbtxt": b"new config"}


def test_objects_that_never_stop_changing(store: XmlStore, opened: Opener, tmp_path: Path) -> None:
    def decide(asked: Asked) -> Fault | None:
        if is_get(asked):
            store.objects[asked.key] = f"{len(store.asked)}".encode()
        return None

    store.decide = decide
    with pytest.raises(UnavailableError, match="model 'm' changes while it is downloaded"):
        opened(here(store)).folder("m")
    nothing_half(tmp_path / "cache")


def test_an_object_that_is_deleted_between_its_listing_and_its_download(store: XmlStore, opened: Opener) -> None:
    def decide(asked: Asked) -> Fault | None:
        if is_get(asked):
            store.objects.pop("r/m/1/model.onnx", None)
        return None

    store.decide = decide
    assert contents(opened(here(store)).folder("m").directory) == {"config.pbtxt": MODEL["r/m/config.pbtxt"]}


def test_a_model_that_is_deleted_meanwhile(store: XmlStore, opened: Opener) -> None:
    def decide(asked: Asked) -> Fault | None:
        if is_get(asked):
            store.objects.clear()
        return None

    store.decide = decide
    with pytest.raises(NotFoundError, match="model 'm' is not in"):
        opened(here(store)).folder("m")


def test_a_right_to_list_but_not_to_read(store: XmlStore, opened: Opener, tmp_path: Path) -> None:
    store.decide = lambda asked: Fault(403, error_body("AccessDenied")) if is_get(asked) else None
    repository = opened(here(store))
    assert repository.names() == ["m"]
    with pytest.raises(UnavailableError, match=r"get of .*/r/m/.* failed: access denied; grant the right"):
        repository.folder("m")
    nothing_half(tmp_path / "cache")


def test_credentials_that_were_refused_are_looked_up_again(store: XmlStore, opened: Opener) -> None:
    environment = dict(AWS)
    store.decide = lambda asked: None if "Credential=renewed/" in asked.headers["authorization"] else Fault(403)
    repository = opened(here(store), environment)
    with pytest.raises(UnavailableError, match="access denied"):
        repository.names()
    environment["AWS_ACCESS_KEY_ID"] = "renewed"
    assert repository.names() == ["m"]


def listing(*entries: tuple[str, int], more: bool = False) -> str:
    found = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>1</ETag><Size>{size}</Size></Contents>"
        for key, size in entries
    )
    token = "<NextContinuationToken>next</NextContinuationToken>" if more else ""
    return f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{found}</ListBucketResult>"


@pytest.mark.parametrize("size", [1000, 99_999, 100_001, 10**9])
def test_an_object_of_another_size_than_listed(store: XmlStore, opened: Opener, tmp_path: Path, size: int) -> None:
    wrong = listing(("r/m/1/model.onnx", size))
    store.decide = lambda asked: None if asked.key else Fault(200, wrong)
    with pytest.raises(UnavailableError, match="model 'm' changes while it is downloaded"):
        opened(here(store)).folder("m")
    nothing_half(tmp_path / "cache")


def test_more_than_the_disk_takes(store: XmlStore, opened: Opener) -> None:
    store.decide = lambda asked: None if asked.key else Fault(200, listing(("r/m/1/model.onnx", 1 << 60)))
    with pytest.raises(
        UnavailableError, match=r"model 'm' needs 1152921504606846976 bytes of disk .*--repository-cache-directory"
    ):
        opened(here(store)).folder("m")
    assert not store.gets()


HOSTILE = [
    "r/m/../../../../evil",
    "r/m/1/..",
    "r/m/./evil",
    "r/m//evil",
    "r/m//etc/evil",
    "r/m/a\\..\\..\\evil",
    "r/m/a&#10;b",
    "r/m/a&#127;b",
    f"r/m/{'x' * 256}",
    f"r/m/{'x/' * 600}x",
]


@pytest.mark.parametrize("key", HOSTILE, ids=range(len(HOSTILE)))
def test_names_of_objects_that_no_file_may_have(store: XmlStore, opened: Opener, tmp_path: Path, key: str) -> None:
    """Such a name spoils its own model and no other, and nothing is written for it."""
    store.objects["r/good/1/x"] = b"good"
    bad = listing(("r/m/1/model.onnx", 100_000), (key, 0))
    store.decide = lambda asked: Fault(200, bad) if asked.query.get("prefix", "") == "r/m/" else None
    repository = opened(here(store))
    assert repository.names() == ["good", "m"]
    with pytest.raises(ConfigError) as caught:
        repository.folder("m")
    assert "r/m" in str(caught.value)
    assert len(str(caught.value)) < 700
    assert str(caught.value).isprintable()
    assert not store.gets()
    assert contents(repository.folder("good").directory) == {"1/x": b"good"}
    assert {path.name for path in tmp_path.iterdir()} == {"cache"}


@pytest.mark.parametrize("key", ["r/../evil", "r//evil"])
def test_such_a_name_directly_in_the_repository(store: XmlStore, opened: Opener, key: str) -> None:
    """The client refuses the whole listing of the repository then; the error says which object to remove."""
    store.objects[key] = b"x"
    with pytest.raises(ConfigError, match=r"list of .*/models/r failed: .* a name that no file can have: 'r/.*/"):
        opened(here(store)).names()


def test_an_object_below_another_one(store: XmlStore, opened: Opener) -> None:
    store.objects["r/m/1"] = b"not a folder"
    with pytest.raises(ConfigError, match=r"r/m/1 is an object of 12 bytes, and others lie below it"):
        opened(here(store)).folder("m")


def test_a_listing_with_a_key_twice(store: XmlStore, opened: Opener) -> None:
    store.decide = lambda asked: Fault(200, listing(("r/m/x", 1), ("r/m/x", 2)))
    with pytest.raises(ConfigError, match="listed twice"):
        opened(here(store)).folder("m")


def test_a_listing_without_end(store: XmlStore, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.repositories.object_client.LIST_CHUNK", 10)
    monkeypatch.setattr("atoll.repositories.object_client.MAX_OBJECTS", 50)
    monkeypatch.setattr("atoll.repositories.object_names.MAX_OBJECTS", 50)

    def decide(asked: Asked) -> Fault:
        number = len(store.asked)
        return Fault(200, listing(*((f"r/m/{number}-{one}", 1) for one in range(10)), more=True))

    store.decide = decide
    with pytest.raises(ConfigError, match="has more than 50 objects"):
        opened(here(store)).folder("m")


def test_too_many_models(store: XmlStore, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.repositories.object_client.MAX_NAMES", 2)
    store.objects |= {"r/a/x": b"", "r/b/x": b""}
    with pytest.raises(ConfigError, match="more than 2 folders lie there"):
        opened(here(store)).names()


def test_a_listing_in_pages(store: XmlStore, opened: Opener) -> None:
    store.page = 3
    store.objects |= {f"r/m/1/{number:03}": b"%d" % number for number in range(20)} | {
        f"r/n{n}/x": b"" for n in range(10)
    }
    repository = opened(here(store))
    assert repository.names() == ["m", *(f"n{number}" for number in range(10))]
    assert len(contents(repository.folder("m").directory)) == 22


def test_a_huge_configuration_of_the_server(store: XmlStore, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "MAX_SERVER_CONFIG_BYTES", 10)
    store.objects["r/config.pbtxt"] = b"x" * 11
    with pytest.raises(ConfigError, match="has 11 bytes: a configuration file may have 10"):
        opened(here(store)).server_config()


def test_objects_come_at_the_same_time(store: XmlStore, opened: Opener) -> None:
    together = threading.Barrier(object_download.PARALLEL, timeout=60)

    def decide(asked: Asked) -> None:
        if is_get(asked):
            together.wait()

    store.objects = {f"r/m/1/{number}": b"%d" % number for number in range(object_download.PARALLEL)}
    store.decide = decide
    assert len(contents(opened(here(store)).folder("m").directory)) == object_download.PARALLEL
    assert not together.broken


def test_parts_come_with_the_etag_that_was_listed(
    store: XmlStore, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_download, "PART_BYTES", 30_000)
    assert contents(opened(here(store)).folder("m").directory) == FILES
    parts = [one.headers for one in store.asked if one.key == "r/m/1/model.onnx"]
    assert sorted(one["range"] for one in parts) == [
        "bytes=0-29999",
        "bytes=30000-59999",
        "bytes=60000-89999",
        "bytes=90000-99999",
    ]
    assert {one["if-match"] for one in parts} == {store.etag("r/m/1/model.onnx")}
