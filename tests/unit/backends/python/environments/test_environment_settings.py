"""Settings of environments: defaults, and what is refused."""

from pathlib import Path

import pytest

from atoll.backends.python.environments.settings import read_settings
from atoll.errors import ConfigError


def test_where_environments_are_kept() -> None:
    assert read_settings({}, {"HOME": "/home/ada"}).directory == Path("/home/ada/.cache/atoll/environments")
    assert read_settings({}, {"HOME": "/h", "XDG_CACHE_HOME": "/c"}).directory == Path("/c/atoll/environments")
    assert read_settings({}, {"HOME": "/h", "XDG_CACHE_HOME": "c"}).directory == Path("/h/.cache/atoll/environments")
    chosen = read_settings({"environment-cache-directory": "envs"}, {"HOME": "/h"})
    assert chosen.directory == Path.cwd() / "envs"
    assert chosen.uv_cache == Path.cwd() / "envs" / "uv"
    assert read_settings({}, {"HOME": "/h"}).uv_cache is None
    assert read_settings({"environment-cache-directory": "e"}, {"UV_CACHE_DIR": "/u"}).uv_cache is None


def test_places_of_packages() -> None:
    found = read_settings(
        {"find-links": "wheels https://a/b", "extra-index-url": "https://c/d  https://e", "index-url": " https://f "},
        {"HOME": "/h"},
    )
    assert found.find_links == (str(Path.cwd() / "wheels"), "https://a/b")
    assert found.extra_index_urls == ("https://c/d", "https://e")
    assert found.index_url == "https://f"


def test_settings_of_others_are_left_alone() -> None:
    assert read_settings({"shm-default-byte-size": "x"}, {"HOME": "/h"}) == read_settings({}, {"HOME": "/h"})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("offline", "maybe"),
        ("use-requirements", ""),
        ("environment-byte-size", "0"),
        ("environment-byte-size", "-1"),
        ("environment-cache-byte-size", "1GB"),
        ("environment-timeout-seconds", "9" * 30),
        ("environment-timeout-seconds", "²"),
    ],
)
def test_a_wrong_value_names_its_setting(key: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"--backend-config=python,{key}="):
        read_settings({key: text}, {"HOME": "/h"})
