"""The file of API keys: what it may say, and what is said of one that is wrong."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import InvalidArgumentError
from atoll.frontends.access.key_file import read_expiry, read_key_file
from atoll.frontends.access.key_form import digest_of, hash_text, new_key
from atoll.frontends.access.keys import KeyRecord
from atoll.frontends.access.rate import RateLimit

HASH = hash_text("a key")
OTHER = hash_text("another")
WHOLE = f"""
keys:
  - name: team a   # a comment
    hash: {HASH}
    models: ["resnet*", bert]
    scopes: [inference, shared-memory]
    requests_per_second: 2.5
    burst: 7
    expires: 2027-01-31
  - {{name: b, hash: "{OTHER}", scopes: [admin]}}
"""
RECORDS = (
    KeyRecord(
        "team a",
        digest_of("a key"),
        ("resnet*", "bert"),
        ("inference", "shared-memory"),
        RateLimit(2.5, 7),
        datetime(2027, 1, 31, tzinfo=UTC).timestamp(),
    ),
    KeyRecord("b", digest_of("another"), scopes=("admin",)),
)


def test_a_whole_file_in_either_form() -> None:
    assert read_key_file(WHOLE, "f") == RECORDS
    document = {
        "keys": [
            {
                "name": "team a",
                "hash": HASH,
                "models": ["resnet*", "bert"],
                "scopes": ["inference", "shared-memory"],
                "requests_per_second": 2.5,
                "burst": 7,
                "expires": "2027-01-31",
            },
            {"name": "b", "hash": OTHER, "scopes": ["admin"]},
        ]
    }
    assert read_key_file(json.dumps(document, indent="\t"), "f") == RECORDS


def test_no_keys_are_no_mistake() -> None:
    assert read_key_file("keys: []", "f") == ()


def test_the_burst_is_that_of_a_second_if_not_given() -> None:
    (one,) = read_key_file(f"keys: [{{name: a, hash: '{HASH}', requests_per_second: 0.2}}]", "f")
    (other,) = read_key_file(f"keys: [{{name: a, hash: '{HASH}', requests_per_second: 20}}]", "f")
    assert (one.rate, other.rate) == (RateLimit(0.2, 1), RateLimit(20, 20))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no list of keys"),
        ("keys:", "no list of keys"),
        ("[]", "no list of keys"),
        ("keys: []\nmore: 1", "f:2:1: more: there is no such member"),
        ("keys: [1]", "this is no key"),
        ("keys: [{name: a}]", "the hash of the key. Found nothing"),
        (f"keys: [{{hash: '{HASH}'}}]", "each key has a name"),
        (f"keys: [{{name: '', hash: '{HASH}'}}]", "each key has a name"),
        (f'keys: [{{name: "a\\nb", hash: "{HASH}"}}]', "each key has a name"),
        ("keys: [{name: a, hash: sha256:00}]", "64 lower-case hex digits"),
        (f"keys: [{{name: a, hash: '{HASH.upper()}'}}]", "64 lower-case hex digits"),
        (f"keys: [{{name: a, hash: '{HASH}', scope: [admin]}}]", "Did you mean 'scopes'?"),
        (f"keys: [{{name: a, hash: '{HASH}', scopes: [interference]}}]", "Did you mean 'inference'?"),
        (f"keys: [{{name: a, hash: '{HASH}', scopes: admin}}]", "this is no such list"),
        (f"keys: [{{name: a, hash: '{HASH}', scopes: []}}]", "this is no such list"),
        (f"keys: [{{name: a, hash: '{HASH}', models: ['']}}]", "this is no such list"),
        (f"keys: [{{name: a, hash: '{HASH}', requests_per_second: 0}}]", "this is no rate"),
        (f"keys: [{{name: a, hash: '{HASH}', requests_per_second: true}}]", "this is no rate"),
        (f"keys: [{{name: a, hash: '{HASH}', requests_per_second: .inf}}]", "this is no rate"),
        (f"keys: [{{name: a, hash: '{HASH}', burst: 1}}]", "no rate beside it"),
        (f"keys: [{{name: a, hash: '{HASH}', requests_per_second: 1, burst: 0}}]", "no number of requests"),
        (f"keys: [{{name: a, hash: '{HASH}', expires: tomorrow}}]", "this is no time"),
        (f"keys: [{{name: a, hash: '{HASH}', expires: 20270131}}]", "this is no time"),
        (f"keys: [{{name: a, hash: '{HASH}'}}, {{name: a, hash: '{OTHER}'}}]", "two keys have the same name"),
        (f"keys: [{{name: a, hash: '{HASH}'}}, {{name: b, hash: '{HASH}'}}]", "two keys have the same hash"),
        (f"keys: [{{name: a, name: b, hash: '{HASH}'}}]", "the key is given twice"),
        ("keys: [", "f:1:8"),
        ('{"keys": [', "Unexpected end of string"),
        ("!!python/object/apply:os.system ['true']", "a tag that is not known"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        read_key_file(text, "f")
    assert said in str(raised.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidArgumentError, match="3 problems"):
        read_key_file(
            "keys: [{name: a, hash: x, scopes: [no]}, {name: '', hash: 'y'}]".replace("'y'", f"'{HASH}'"), "f"
        )


@pytest.mark.parametrize("member", ["key", "hash"])
def test_a_key_in_the_place_of_its_hash_is_not_repeated(member: str) -> None:
    key = new_key()
    with pytest.raises(InvalidArgumentError) as raised:
        read_key_file(f"keys: [{{name: a, {member}: {key}}}]", "f")
    assert key not in str(raised.value)


@given(st.text(max_size=200))
def test_any_text_is_keys_or_a_mistake(text: str) -> None:
    try:
        read_key_file(text, "f")
    except InvalidArgumentError:
        return


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T12:00", datetime(2027, 1, 31, 12, tzinfo=UTC)),
        ("2027-01-31T12:00:00+02:00", datetime(2027, 1, 31, 10, tzinfo=UTC)),
        ("2027-01-31T12:00:00Z", datetime(2027, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_times_are_utc_unless_they_say_otherwise(text: str, moment: datetime) -> None:
    assert read_expiry(text) == moment.timestamp()


def test_a_new_key_is_new_and_long() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(one) == 49 and one.startswith("atoll_") for one in keys)
