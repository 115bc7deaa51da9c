"""What decides which requests are traced: the settings of all models and of single ones, and what may be said of them.

Names, values and error texts are those of tritonserver's trace extension.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from atoll.errors import InvalidArgumentError, UnsupportedError
from atoll.observability.tracing.export_settings import ExportSettings

TIMESTAMPS, TENSORS = "TIMESTAMPS", "TENSORS"
LEVELS = (TIMESTAMPS, TENSORS)
FILE_IS_FIXED = "trace file location can not be updated through network protocol"
NO_FILE = "Attempting to set invalid trace setting :trace file name is not given"

_INTEGER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
_INT32 = range(-(2**31), 2**31)
_UINT32_RANGE = "[ 0, 4294967295 ]"
_COUNT_RANGE = "[ -1, 2147483647 ]"


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """`levels` empty: off. One of `rate` requests is traced, `count` of them in all (-1: no limit). `file` is written
    when the server stops, or FILE.0, FILE.1, ... with `log_frequency` traces each. `export`: spans are made of them and
    exported, and nothing is written to a file; a client's trace context then decides in place of rate and count.
    """

    levels: tuple[str, ...] = ()
    rate: int = 1000
    count: int = -1
    log_frequency: int = 0
    file: str = ""
    export: ExportSettings | None = None

    @property
    def samples(self) -> bool:
        """Whether a request can be traced that brings no trace context."""
        return bool(self.levels and self.rate and self.count and (self.file or self.export))

    @property
    def active(self) -> bool:
        """Whether any request can be traced."""
        return self.samples or bool(self.levels and self.export)

    def document(self) -> dict[str, Any]:
        """As the protocol says it: numbers are strings, and the levels are a list."""
        document: dict[str, Any] = {
            "trace_level": list(self.levels) or ["OFF"],
            "trace_rate": str(self.rate),
            "trace_count": str(self.count),
        }
        if self.export is not None:
            return {**document, "trace_mode": "opentelemetry", **self.export.document()}
        return {
            **document,
            "log_frequency": str(self.log_frequency),
            "trace_file": self.file,
            "trace_mode": "triton",
        }


# what the protocol changes, by its names, in the order in which the real server looks at them
FIELDS: Mapping[str, str] = {
    "trace_level": "levels",
    "trace_rate": "rate",
    "trace_count": "count",
    "log_frequency": "log_frequency",
}


@dataclass(frozen=True, slots=True)
class TraceUpdate:
    """What somebody wants to be otherwise: fields of TraceSettings by name. `cleared` ones are as if never set."""

    values: Mapping[str, Any]
    cleared: frozenset[str] = frozenset()


def updated(
    current: TraceSettings, specified: frozenset[str], fallback: TraceSettings, update: TraceUpdate
) -> tuple[TraceSettings, frozenset[str]]:
    """The settings after an update, and which of their fields were set and not inherited from `fallback`.

    Raises InvalidArgumentError where they would trace and have no file.
    """
    specified = (specified | frozenset(update.values)) - update.cleared
    kept = {name: getattr(current if name in specified else fallback, name) for name in FIELDS.values()}
    settings = replace(fallback, **{**kept, **update.values})
    if settings.levels and not settings.file and settings.export is None:
        raise InvalidArgumentError(NO_FILE)
    return settings, specified


def read_levels(names: Iterable[str]) -> tuple[str, ...] | None:
    """Of a list of levels. What is none of them is passed over, as the real server does; None where nothing is left."""
    given = list(names)
    if "OFF" in given:
        if len(given) > 1:
            raise InvalidArgumentError("Expect only one trace level 'OFF' is specified")
        return ()
    return tuple(level for level in LEVELS if level in given) or None


def read_rate(text: str) -> int:
    """See `read_frequency`."""
    return _unsigned("trace_rate", text)


def read_frequency(text: str) -> int:
    """An unsigned number, read as the real server reads it: a negative one counts down from 2^32."""
    return _unsigned("log_frequency", text)


def read_count(text: str, space: str = "") -> int:
    """From -1 on. `space`: what the error has before the wrong number."""
    count = _integer("trace_count", text, _COUNT_RANGE)
    if count < -1:
        raise InvalidArgumentError(f"Unable to parse 'trace_count'. Expecting value >= -1, got:{space}{text}")
    return count


def read_update(wanted: Mapping[str, Sequence[str] | None], space: str = "") -> TraceUpdate:
    """Of the settings by their names in the protocol, each a list of values; None: it is cleared.

    Raises InvalidArgumentError and UnsupportedError in the real server's words. Unknown names are passed over. `space`:
    see `read_count`.
    """
    if "trace_file" in wanted:
        raise UnsupportedError(FILE_IS_FIXED)
    values: dict[str, Any] = {}
    cleared = set()
    for name, field in FIELDS.items():
        if name not in wanted:
            continue
        given = wanted[name]
        if given is None:
            cleared.add(field)
        elif field == "levels":
            levels = read_levels(given)
            if levels is not None:
                values[field] = levels
        elif len(given) != 1:
            raise InvalidArgumentError(f"expect only 1 value for '{name}'")
        else:
            values[field] = read_count(given[0], space) if field == "count" else _unsigned(name, given[0])
    return TraceUpdate(values, frozenset(cleared))


def _unsigned(name: str, text: str) -> int:
    return _integer(name, text, _UINT32_RANGE) % 2**32


def _integer(name: str, text: str, span: str) -> int:
    """What std::stoi reads: spaces in front, a sign, digits, and whatever follows."""
    found = _INTEGER.match(text)
    if found is None:
        raise InvalidArgumentError(f"Unable to parse '{name}', got: {text}")
    digits = found[1]
    if len(digits) > 20 or int(digits) not in _INT32:
        raise InvalidArgumentError(f"Unable to parse '{name}', value is out of range {span}, got: {text}")
    return int(digits)
