"""What a request's parameters say of its sequence. Pure."""

from collections.abc import Mapping

from atoll.errors import InvalidArgumentError, UnsupportedError
from atoll.request import Parameter
from atoll.scheduling.sequences.sequence import FIRST, INNER, LAST, ONLY, CorrelationId, Step

_TOO_LARGE = 1 << 64
MAX_ID_LENGTH = 128  # of a string, in bytes, as in the real server


def sequence_facts(parameters: Mapping[str, Parameter], model_name: str) -> tuple[CorrelationId, Step]:
    """The correlation ID, 0 or "" where there is none, and what its flags make of the request.

    Raises InvalidArgumentError, UnsupportedError for what cannot be one.
    """
    start, end = parameters.get("sequence_start", False), parameters.get("sequence_end", False)
    correlation_id = parameters.get("sequence_id", 0)
    if type(correlation_id) is int and 0 < correlation_id < _TOO_LARGE and type(start) is type(end) is bool:
        if start:
            return correlation_id, ONLY if end else FIRST
        return correlation_id, LAST if end else INNER
    if isinstance(correlation_id, str):
        check_text_id(correlation_id)
    elif correlation_id and (type(correlation_id) is not int or not 0 < correlation_id < _TOO_LARGE):
        raise InvalidArgumentError(
            f"correlation ID {correlation_id!r} of an inference request to model '{model_name}' is "
            "neither a whole number from 1 to 2**64 - 1 nor a string"
        )
    if correlation_id and (type(start) is not bool or type(end) is not bool):
        raise InvalidArgumentError(
            f"the flags of an inference request for sequence {correlation_id} to model '{model_name}' "
            f"are neither true nor false: sequence_start is {start!r}, sequence_end is {end!r}"
        )
    if start:
        step = ONLY if end else FIRST
    else:
        step = LAST if end else INNER
    return (correlation_id if isinstance(correlation_id, str) else int(correlation_id)), step


def check_text_id(correlation_id: str) -> None:
    """Raises UnsupportedError for one that is too long: of any request, though its model may have no sequences."""
    if len(correlation_id) > MAX_ID_LENGTH or (not correlation_id.isascii() and _is_too_long(correlation_id)):
        raise UnsupportedError(f"string correlation ID cannot be longer than {MAX_ID_LENGTH} characters")


def _is_too_long(correlation_id: str) -> bool:
    try:
        return len(correlation_id.encode()) > MAX_ID_LENGTH
    except UnicodeEncodeError:
        raise InvalidArgumentError(
            f"the correlation ID {correlation_id!r} is no text: it has half of a surrogate pair"
        ) from None
