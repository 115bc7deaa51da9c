"""Model versions as clients write them; the expectations are the real server's answers."""

import pytest

from atoll.errors import InvalidArgumentError
from atoll.protocol.model_version import model_version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("", ""),
        ("1", "1"),
        ("01", "1"),
        ("1x", "1"),
        (" 1", "1"),
        ("+7", "7"),
        ("0", "0"),
        ("00", "0"),
        ("-0", "0"),
        ("9223372036854775807", "9223372036854775807"),
        ("0" * 50 + "3", "3"),
    ],
)
def test_read(text, version):
    assert model_version(text) == version


@pytest.mark.parametrize("text", ["x", " ", "-", "٣", "9223372036854775808", "-99999999999999999999", "9" * 100_000])
def test_not_a_number_of_64_bits(text):
    with pytest.raises(InvalidArgumentError) as refused:
        model_version(text)
    assert str(refused.value) == (
        f"failed to get model version from specified version string '{text}' (details: stol), "
        "version should be an integral value > 0"
    )


def test_negative():
    with pytest.raises(InvalidArgumentError) as refused:
        model_version("-1")
    assert str(refused.value) == "invalid model version specified '-1' , version should be an integral value > 0"
