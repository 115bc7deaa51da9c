"""The file of API keys: YAML or JSON text to records, and all that can be wrong with it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from atoll.config.documents import Document, DocumentError, read_json
from atoll.config.places import Place
from atoll.config.problems import Problem, config_error, suggestion
from atoll.config.yaml_document import read_yaml
from atoll.frontends.access.key_form import read_hash
from atoll.frontends.access.keys import SCOPES, KeyRecord
from atoll.frontends.access.rate import RateLimit

MAX_RATE = 1_000_000
MEMBERS = ("name", "hash", "models", "scopes", "requests_per_second", "burst", "expires")
_DEFAULT = KeyRecord("", b"")


def read_key_file(text: str, file: str) -> tuple[KeyRecord, ...]:
    """The keys in their order. Raises ConfigError (an InvalidArgumentError) with everything that is wrong."""
    try:
        document = (read_json if text.lstrip()[:1] == "{" else read_yaml)(text, file)
    except DocumentError as error:
        raise config_error([error.problem], file) from None
    reader = _Reader(document, file)
    records = reader.keys()
    if reader.problems:
        raise config_error(reader.problems, file)
    return records


def read_expiry(text: str) -> float | None:
    """Unix time in s of an ISO 8601 date or time, UTC where it names no zone; None where the text is none."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):  # in the year 0 or 10,000 of UTC
        return None


class _Reader:
    def __init__(self, document: Document, file: str):
        self._document = document
        self._file = file
        self.problems: list[Problem] = []

    def keys(self) -> tuple[KeyRecord, ...]:
        top = self._document.value
        if not isinstance(top, dict) or not isinstance(top.get("keys"), list):
            self._wrong(Place(self._file), "", "the file has no list of keys", "", "keys: and a list below it")
            return ()
        for name in top:
            if name != "keys":
                self._wrong(self._place(top, name), name, "there is no such member", f"'{name}'", "'keys' only")
        records = [self._key(one, self._place(top["keys"], number)) for number, one in enumerate(top["keys"])]
        found = [one for one in records if one is not None]
        self._unique(top["keys"], [one.name for one in found], "name")
        self._unique(top["keys"], [one.digest.hex() for one in found], "hash")
        return tuple(found)

    def _unique(self, entries: list[Any], values: list[str], member: str) -> None:
        if len(values) < len(entries):  # some have other mistakes, which are told first
            return
        seen: set[str] = set()
        for number, value in enumerate(values):
            if value in seen:
                place = self._place(entries[number], member)
                what = f"'{value}'" if member == "name" else "one that another key has"
                self._wrong(place, member, f"two keys have the same {member}", what, f"a {member} of its own")
            seen.add(value)

    def _key(self, entry: Any, place: Place) -> KeyRecord | None:
        if not isinstance(entry, dict):
            self._wrong(place, "keys", "this is no key", f"{type(entry).__name__}", "name, hash, ...")
            return None
        before = len(self.problems)
        for name in entry:
            if name == "key":
                text, remedy = "keys are not kept here, their hashes are", "Write what `atoll key` printed."
                self._wrong(self._place(entry, name), "key", text, "a key", "hash: sha256:...", remedy)
            elif name not in MEMBERS:
                near = suggestion(name, MEMBERS)
                remedy = f"Did you mean '{near}'?" if near else ""
                here = self._place(entry, name)
                self._wrong(here, name, "there is no such member", f"'{name}'", ", ".join(MEMBERS), remedy)
        name = self._name(entry, place)
        digest = self._digest(entry, place)
        models = self._texts(entry, "models", _DEFAULT.models)
        scopes = self._texts(entry, "scopes", _DEFAULT.scopes)
        for one in scopes:
            if one not in SCOPES:
                near = suggestion(one, SCOPES)
                remedy = f"Did you mean '{near}'?" if near else ""
                here = self._place(entry, "scopes")
                self._wrong(here, "scopes", "there is no such scope", f"'{one}'", ", ".join(SCOPES), remedy)
        rate = self._rate(entry)
        expires = self._expiry(entry)
        if len(self.problems) > before:
            return None
        return KeyRecord(name, digest, models, scopes, rate, expires)

    def _name(self, entry: Mapping[str, Any], place: Place) -> str:
        name = entry.get("name")
        if isinstance(name, str) and 0 < len(name) <= 100 and name.isprintable():
            return name
        found = "nothing" if name is None else repr(name)[:100]
        self._wrong(place, "name", "each key has a name", found, "up to 100 printable characters")
        return ""

    def _digest(self, entry: Mapping[str, Any], place: Place) -> bytes:
        value = entry.get("hash")
        digest = read_hash(value) if isinstance(value, str) else None
        if digest is None:  # what stands there might be a key: it is not repeated
            found = "nothing" if value is None else "something else"
            remedy = "`atoll key` makes one."
            self._wrong(place, "hash", "the hash of the key", found, "sha256: and 64 lower-case hex digits", remedy)
            return b""
        return digest

    def _texts(self, entry: Mapping[str, Any], member: str, default: tuple[str, ...]) -> tuple[str, ...]:
        value = entry.get(member, list(default))
        if isinstance(value, list) and value and all(isinstance(one, str) and one for one in value):
            return tuple(value)
        expected = "a list of texts with at least one, such as [" + ", ".join(f'"{one}"' for one in default) + "]"
        self._wrong(self._place(entry, member), member, "this is no such list", repr(value)[:100], expected)
        return default

    def _rate(self, entry: Mapping[str, Any]) -> RateLimit | None:
        rate, burst = entry.get("requests_per_second"), entry.get("burst")
        if rate is None:
            if burst is not None:
                here = self._place(entry, "burst")
                self._wrong(here, "burst", "there is no rate beside it", "", "requests_per_second too")
            return None
        if type(rate) not in (int, float) or not 0.001 <= rate <= MAX_RATE:
            here = self._place(entry, "requests_per_second")
            expected = f"a number from 0.001 to {MAX_RATE}"
            self._wrong(here, "requests_per_second", "this is no rate", repr(rate)[:100], expected)
            return None
        if burst is None:
            burst = max(1, round(rate))
        if type(burst) is not int or not 1 <= burst <= MAX_RATE:
            here = self._place(entry, "burst")
            self._wrong(here, "burst", "this is no number of requests", repr(burst)[:100], f"1 to {MAX_RATE}")
            return None
        return RateLimit(rate, burst)

    def _expiry(self, entry: Mapping[str, Any]) -> float | None:
        value = entry.get("expires")
        if value is None:
            return None
        moment = read_expiry(value) if isinstance(value, str) else None
        if moment is None:
            here = self._place(entry, "expires")
            expected = "a date or time such as 2027-01-31 or 2027-01-31T12:00:00Z"
            self._wrong(here, "expires", "this is no time", repr(value)[:100], expected)
        return moment

    def _place(self, parent: Any, key: Any) -> Place:
        return self._document.places.get(id(parent), {}).get(key, Place(self._file))

    def _wrong(self, place: Place, path: str, text: str, found: str, expected: str, remedy: str = "") -> None:
        problem = Problem(path, text, found, expected, remedy, file=place.file, line=place.line, column=place.column)
        self.problems.append(problem)
