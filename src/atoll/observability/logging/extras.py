"""What is known of a line beside its text, for `logging`'s `extra`: which request and model it is about, its detail."""

from collections.abc import Iterable
from typing import Final

UNKNOWN_ID: Final = "<id_unknown>"
"""Of a request whose client gave it none; as the real server has it."""

_NAMED: Final = 8  # requests in a line about many


def about(request_id: str, model: str, version: str = "") -> dict[str, str]:
    """The line is about the request with this id, "" if its client gave it none, to this model; `version` is "" where
    it is not known.
    """
    return {"request_id": request_id, "model": model, "version": version}


def about_all(request_ids: Iterable[str], model: str, version: str) -> dict[str, str]:
    """The same for a line about several requests to a model; of many, the first ones."""
    ids = [one or UNKNOWN_ID for one in request_ids]
    more = len(ids) - _NAMED
    return about(", ".join(ids[:_NAMED]) + (f" and {more} more" if more > 0 else ""), model, version)


def naming(model: str, versions: Iterable[object] = ()) -> dict[str, object]:
    """The line is about this model and names it in its text already, so that only records and JSON say it once more;
    the version, where it is a single one.
    """
    known = [str(one) for one in versions]
    return {"model": model, "version": known[0] if len(known) == 1 else "", "named": True}


def with_detail(lines: str) -> dict[str, str]:
    """What is logged goes on with these lines, which stay lines."""
    return {"detail": lines}


def report(text: object) -> tuple[str, dict[str, str]]:
    """Of what was written for people to read: its first line, and the `extra` with its other lines."""
    first, _, rest = str(text).partition("\n")
    return first, with_detail(rest) if rest.strip() else {}
