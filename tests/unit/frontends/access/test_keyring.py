"""The keys in force: what a changed, broken or missing file does to them."""

import logging
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.frontends.access.key_files import key_text, put

from atoll.errors import InvalidArgumentError, RateLimitedError, UnauthenticatedError
from atoll.frontends.access.keyring import KeyRing

A, B = {"name": "a", "key": "key-a"}, {"name": "b", "key": "key-b"}
WAIT_S = 20


class Rememberer:
    def __init__(self, ring: KeyRing) -> None:
        self.ring = ring
        self.found: list[str] = []

    def forget(self) -> None:
        self.found.append(names(self.ring))


def names(ring: KeyRing) -> str:
    found = ""
    for key in ("key-a", "key-b"):
        try:
            found += ring.find(key).name
        except UnauthenticatedError:
            continue
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    put(tmp_path / "keys", key_text(A))
    return tmp_path / "keys"


def look_twice(ring: KeyRing) -> None:
    ring.check()
    ring.check()


def test_a_key_is_found_by_itself_and_by_nothing_else(path: Path) -> None:
    ring = KeyRing(str(path))
    assert ring.find("key-a").name == "a"
    for other in ("key-b", "key-", "key-aa", "KEY-A", "", "a"):
        with pytest.raises(UnauthenticatedError, match="not known"):
            ring.find(other)


def test_a_changed_file_is_in_force_when_it_has_settled(path: Path) -> None:
    ring = KeyRing(str(path))
    rememberer = Rememberer(ring)
    ring.tell(rememberer)
    look_twice(ring)
    assert rememberer.found == []
    put(path, key_text(B))
    ring.check()
    assert names(ring) == "a", "half of the file might be written"
    ring.check()
    assert names(ring) == "b"
    assert rememberer.found == ["b"], "told once, when the new keys are in force"


def test_a_file_that_keeps_changing_is_left_alone(path: Path) -> None:
    ring = KeyRing(str(path))
    for size in range(3):
        path.write_text(key_text(B) + " " * size)
        ring.check()
    assert names(ring) == "a"
    ring.check()
    assert names(ring) == "b"


@pytest.mark.parametrize("text", ["keys: [", "keys: [{name: a}]", "\xff", ""])
def test_a_broken_file_leaves_the_keys_as_they_were(path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    ring = KeyRing(str(path))
    path.write_bytes(text.encode("latin-1"))
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            ring.check()
    assert names(ring) == "a"
    assert caplog.text.count("stay as they were") == 1
    put(path, key_text(B))
    look_twice(ring)
    assert names(ring) == "b"


def test_a_missing_file_leaves_the_keys_as_they_were(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ring = KeyRing(str(path))
    path.unlink()
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            ring.check()
    assert names(ring) == "a"
    assert caplog.text.count("No such file") == 1
    put(path, key_text(A, B))
    look_twice(ring)
    assert names(ring) == "ab"


def test_a_mounted_secret_that_is_switched_is_seen(tmp_path: Path) -> None:
    for name, key in (("one", A), ("two", B)):
        (tmp_path / name).mkdir()
        put(tmp_path / name / "keys", key_text(key))
    link = tmp_path / "data"
    link.symlink_to("one")
    ring = KeyRing(str(link / "keys"))
    assert names(ring) == "a"
    (tmp_path / "data.new").symlink_to("two")
    os.replace(tmp_path / "data.new", link)
    look_twice(ring)
    assert names(ring) == "b"


def test_its_thread_sees_changes_and_ends(path: Path) -> None:
    ring = KeyRing(str(path), poll_s=0.01)
    changed = threading.Event()

    class Waiting:
        def forget(self) -> None:
            changed.set()

    waiting = Waiting()
    ring.tell(waiting)
    ring.watch()
    put(path, key_text(B))
    assert changed.wait(WAIT_S)
    assert names(ring) == "b"
    ring.close()
    assert not any(one.name == "api keys" for one in threading.enumerate())
    ring.close()


def test_who_is_gone_is_told_nothing(path: Path) -> None:
    ring = KeyRing(str(path))
    ring.tell(Rememberer(ring))
    put(path, key_text(B))
    look_twice(ring)
    assert names(ring) == "b"


@pytest.mark.parametrize("name", ["missing", "."])
def test_without_its_file_nothing_starts(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"--api-key-file: .* cannot be read"):
        KeyRing(str(tmp_path / name))


def test_a_broken_file_at_start_is_refused(path: Path) -> None:
    path.write_text("keys: [{name: a}]")
    with pytest.raises(InvalidArgumentError, match="the hash of the key"):
        KeyRing(str(path))


def test_a_file_that_everybody_may_write_is_warned_of(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.chmod(0o666)
    with caplog.at_level(logging.WARNING):
        KeyRing(str(path))
    assert "may be written by everybody" in caplog.text


def test_a_reload_gives_nobody_new_requests(path: Path) -> None:
    limited = {**A, "requests_per_second": 0.001, "burst": 1}
    put(path, key_text(limited))
    ring = KeyRing(str(path))
    ring.find("key-a").admit()
    put(path, key_text({**limited, "models": ["m"]}, B))
    look_twice(ring)
    assert names(ring) == "ab"
    with pytest.raises(RateLimitedError) as raised:
        ring.find("key-a").admit()
    assert 0 < raised.value.retry_after_s <= 1000
    put(path, key_text({**limited, "burst": 2}))
    look_twice(ring)
    ring.find("key-a").admit()


def test_a_key_expires(path: Path) -> None:
    now = datetime.now(UTC)
    put(
        path,
        key_text(
            {**A, "expires": (now - timedelta(seconds=1)).isoformat()},
            {**B, "expires": (now + timedelta(days=1)).isoformat()},
        ),
    )
    ring = KeyRing(str(path))
    ring.find("key-b").admit()
    with pytest.raises(UnauthenticatedError, match="'a' expired at 20"):
        ring.find("key-a").admit()
