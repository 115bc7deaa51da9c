"""The forms of locations: Triton's, and what is refused of others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import ConfigError
from atoll.repositories.object_location import ObjectLocation, Service, is_object_store, parse_location

S3, GCS, AZURE = Service.S3, Service.GCS, Service.AZURE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket", ObjectLocation(S3, "bucket", "")),
        ("s3://bucket/", ObjectLocation(S3, "bucket", "")),
        ("s3://bucket/a/b/", ObjectLocation(S3, "bucket", "a/b")),
        ("s3://bucket//a///b", ObjectLocation(S3, "bucket", "a/b")),
        ("s3://10.0.0.1:9000/bucket/a", ObjectLocation(S3, "bucket", "a", "http://10.0.0.1:9000")),
        ("s3://http://minio:9000/bucket/a", ObjectLocation(S3, "bucket", "a", "http://minio:9000")),
        ("s3://https://minio.example:443/bucket", ObjectLocation(S3, "bucket", "", "https://minio.example:443")),
        ("s3://https://minio.example/bucket/a", ObjectLocation(S3, "bucket", "a", "https://minio.example")),
        ("s3://https://[::1]:9000/bucket/a", ObjectLocation(S3, "bucket", "a", "https://[::1]:9000")),
        ("gs://bucket/a/b", ObjectLocation(GCS, "bucket", "a/b")),
        ("gs://http://localhost:4443/bucket/a", ObjectLocation(GCS, "bucket", "a", "http://localhost:4443")),
        ("as://account/container/a/b", ObjectLocation(AZURE, "container", "a/b", "", "account")),
        ("as://account/container", ObjectLocation(AZURE, "container", "", "", "account")),
        (
            "as://account.blob.core.windows.net/container/a",
            ObjectLocation(AZURE, "container", "a", "https://account.blob.core.windows.net", "account"),
        ),
        (
            "as://https://account.blob.core.windows.net/container/a",
            ObjectLocation(AZURE, "container", "a", "https://account.blob.core.windows.net", "account"),
        ),
        (
            "as://http://127.0.0.1:10000/account/container/a",
            ObjectLocation(AZURE, "container", "a", "http://127.0.0.1:10000", "account"),
        ),
    ],
)
def test_forms(text: str, expected: ObjectLocation) -> None:
    assert is_object_store(text)
    found = parse_location(text)
    assert found == expected
    assert parse_location(found.url(found.prefix)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://", "names no bucket: it must be of the form s3://bucket/path, s3://host:port/bucket/path or"),
        ("s3:///", "names no bucket"),
        ("s3://https://host", "names no bucket"),
        ("s3://https://", "'' is not a host and port"),
        ("s3://host:99999/bucket", "'host:99999' is not a host and port"),
        ("s3://host:abc/bucket", "is not a host and port"),
        ("s3://ho st:1/bucket", "is not a host and port"),
        ("as://account", "names no bucket: it must be of the form as://account/container/path"),
        ("s3://_x/a", "'_x' cannot be a bucket's name"),
        ("s3://bu%63ket/a", "cannot be a bucket's name"),
        ("s3://../a", "cannot be a bucket's name"),
        ("s3://bucket/../a", r"has '\.\.' in its path"),
        ("s3://bucket/a/./b", r"has '\.' in its path"),
        ("s3://bucket/a\nb", "a control character"),
        ("s3://bucket/a\\b", "a slash or backslash"),
    ],
)
def test_what_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        parse_location(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://https://key:hidden@host/bucket",
        "s3://key:hidden@host:9000/bucket",
        "as://account/container/a?sig=hidden",
        "gs://b/a#hidden",
    ],
)
def test_credentials_in_a_location_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_location(text)
    assert "hidden" not in str(caught.value)
    assert "TRITON_CLOUD_CREDENTIAL_PATH" in str(caught.value)


@pytest.mark.parametrize("text", ["/models", "models", "s3:/x", "S3://bucket", "http://host/x", "file:///models", ""])
def test_what_is_no_object_store(text: str) -> None:
    assert not is_object_store(text)


@given(st.sampled_from(["s3://", "gs://", "as://"]), st.text(max_size=60))
def test_any_text_is_a_location_or_an_error(scheme: str, text: str) -> None:
    try:
        found = parse_location(scheme + text)
    except ConfigError as error:
        assert len(str(error)) < 1000
        return
    assert ".." not in found.prefix.split("/")
    assert parse_location(found.url(found.prefix)) == found


def test_keys_and_urls() -> None:
    place = parse_location("s3://host:1/bucket/a")
    assert (place.key("m"), place.key("")) == ("a/m", "a")
    assert place.url("a/m") == "s3://http://host:1/bucket/a/m"
    assert parse_location("s3://bucket").key("m") == "m"
    assert parse_location("as://acc/con/a").url("a/m") == "as://acc/con/a/m"
