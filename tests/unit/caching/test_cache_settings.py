"""What --cache-config takes, in the real server's words where it has any."""

from pathlib import Path
from typing import Any

import pytest

from atoll.caching.local import LocalCache
from atoll.caching.settings import CacheSettings, cache_names, open_cache, read_cache_settings
from atoll.errors import InternalError, InvalidArgumentError, NotFoundError

FORMAT = "No cache specified. --cache-config option format is <cache name>,<setting>=<value>. Got "
SETTING = "--cache-config option format is '<cache name>,<setting>=<value>'. Got "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("local", FORMAT + "local"),
        (",size=1048576", FORMAT + ",size=1048576"),
        ("=size", FORMAT + "=size"),
        ("size=1048576", FORMAT + "size=1048576"),
        ("", FORMAT),
        ("local,size", SETTING + "local,size"),
        ("local,size=", SETTING + "local,size="),
        ("local,=1048576", SETTING + "local,=1048576"),
    ],
)
def test_another_form_is_refused_as_by_the_real_server(text: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        read_cache_settings([text])
    assert str(raised.value) == message


def test_settings_of_one_cache_come_together() -> None:
    given = ["redis,host=h", "redis,port=1", "redis,password=a,b=c", "redis,port=2", "redis,ttl=1.5"]
    assert read_cache_settings(given) == CacheSettings("redis", {"host": "h", "port": "2", "password": "a,b=c"}, 1.5)
    assert read_cache_settings([]) is None


def test_two_caches_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^found multiple cache configurations, but only a single cache is"):
        read_cache_settings(["local,size=1048576", "redis,host=x"])


@pytest.mark.parametrize("ttl", ["0", "-1", "nan", "inf", "x", "1e3", "9" * 40, "¹"])
def test_a_time_to_live_is_a_number_of_seconds(ttl: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"--cache-config local,ttl: .* is no number of seconds"):
        read_cache_settings(["local,size=4096", f"local,ttl={ttl}"])


def test_the_deprecated_option_is_a_local_cache() -> None:
    assert read_cache_settings([], 1048576) == CacheSettings("local", {"size": "1048576"})
    with pytest.raises(InvalidArgumentError, match=r"Incompatible flags --response-cache-byte-size and --cache-config"):
        read_cache_settings(["local,size=4096"], 1048576)


def test_caches_come_in_by_entry_point() -> None:
    assert {"local", "redis"} <= set(cache_names())
    assert isinstance(open_cache(CacheSettings("local", {"size": "4096"}), {}), LocalCache)
    with pytest.raises(NotFoundError, match=r"unable to find cache 'locale': no .* Did you mean 'local'"):
        open_cache(CacheSettings("locale"), {})


MODULE = """
class Cache:
    blocks = False
    shared = True
    def __init__(self, settings, environment):
        self.settings = dict(settings)
        self.user = environment.get("USER_OF_CACHE", "")
        if "fail" in settings:
            raise OSError("no")
    def lookup(self, key): ...
    def insert(self, key, entry, ttl_s): ...
    def close(self): ...
class HalfCache:
    def __init__(self, settings, environment): ...
    def lookup(self, key): ...
    def insert(self, key, entry, ttl_s): ...
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed one with caches."""
    (tmp_path / "a_package_with_caches.py").write_text(MODULE)
    installed = tmp_path / "a_package_with_caches-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: a_package_with_caches\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        "[atoll.caches]\nmine = a_package_with_caches:Cache\nbroken = a_package_with_nothing:Cache\n"
        "half = a_package_with_caches:HalfCache\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("package")
def test_an_installed_package_brings_a_cache() -> None:
    settings = read_cache_settings(["mine,a=1", "mine,ttl=5"])
    assert settings == CacheSettings("mine", {"a": "1"}, 5.0)
    cache: Any = open_cache(settings, {"USER_OF_CACHE": "me"})
    assert (cache.settings, cache.user) == ({"a": "1"}, "me")


@pytest.mark.usefixtures("package")
def test_a_package_that_fails_is_named() -> None:
    with pytest.raises(
        InternalError, match=r"cache 'mine' \(a_package_with_caches:Cache\) cannot be made: OSError: no"
    ):
        open_cache(CacheSettings("mine", {"fail": "1"}), {})
    with pytest.raises(InternalError, match=r"cache 'broken' .* cannot be made: ModuleNotFoundError"):
        open_cache(CacheSettings("broken"), {})
    with pytest.raises(
        InternalError, match=r"cache 'half' \(a_package_with_caches:HalfCache\) has no blocks, shared, close"
    ):
        open_cache(CacheSettings("half"), {})
