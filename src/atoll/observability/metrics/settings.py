"""What --metrics-config says: which families the metrics page has."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from atoll.errors import InvalidArgumentError

_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_QUANTILES: Final = "summary_quantiles"
MAX_QUANTILES: Final = 50  # each is a line for each of a model version's summaries

Quantiles = tuple[tuple[float, float], ...]
DEFAULT_QUANTILES: Final[Quantiles] = ((0.5, 0.05), (0.9, 0.01), (0.95, 0.001), (0.99, 0.001), (0.999, 0.001))


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """What is on the page. `counter_latencies`: the counters of durations, nv_inference_*_duration_us, and of each
    model's response cache. `histogram_latencies`: how long first responses of decoupled models took.
    `summary_latencies`: quantiles of the last minute. `summary_quantiles`: which, from 0 to 1, each with the error that
    was allowed; what is kept of the durations is exact enough for any.
    """

    counter_latencies: bool = True
    histogram_latencies: bool = False
    summary_latencies: bool = False
    summary_quantiles: Quantiles = DEFAULT_QUANTILES

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> Self:
        """From KEY=VALUE texts, of which the last one counts. Raises InvalidArgumentError."""
        known = [one.name for one in fields(cls)]
        found: dict[str, Any] = {}
        for text in texts:
            key, equals, value = (part.strip() for part in text.partition("="))
            if not (key and equals and value):
                raise InvalidArgumentError(f"--metrics-config option format is <setting>=<value>. Got {text}")
            if key not in known:
                raise InvalidArgumentError(
                    f"--metrics-config: there is no setting '{key}'; there are {', '.join(known)}"
                )
            if key == _QUANTILES:
                found[key] = _quantiles(value)
            elif value.lower() in _BOOLEANS:
                found[key] = _BOOLEANS[value.lower()]
            else:
                raise InvalidArgumentError(f"--metrics-config: {key} is true or false, not '{value}'")
        return cls(**found)


DEFAULTS: Final = MetricsSettings()


def _quantiles(text: str) -> Quantiles:
    pairs = [_quantile(one.strip()) for one in text.split(",") if one.strip()]
    if not pairs or len(pairs) > MAX_QUANTILES:
        raise InvalidArgumentError(
            f"--metrics-config: {_QUANTILES} has {len(pairs)} quantiles, and must have from 1 to {MAX_QUANTILES}"
        )
    return tuple(sorted(dict(pairs).items()))


def _quantile(text: str) -> tuple[float, float]:
    first, colon, second = text.partition(":")
    if not colon:
        raise _wrong(f"Invalid option: [{text}]. No ':' delimiter found. Expected format is <quantile>:<error>")
    try:
        quantile, error = float(first), float(second)
    except ValueError:
        raise _wrong(f"Invalid option: [{text}]. Both must be numbers. Expected format is <quantile>:<error>") from None
    if not (0 <= quantile <= 1 and 0 <= error < math.inf):
        raise _wrong(f"Invalid option: [{text}]. A quantile is from 0 to 1, and its error is not negative")
    return quantile, error


def _wrong(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"--metrics-config: {_QUANTILES}: {text}, such as 0.5:0.05,0.99:0.001")
