"""What --metrics-config says: which families the metrics page has."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from atoll.errors import InvalidArgumentError, UnsupportedError

_NOT_SERVED: Final = ("histogram_latencies", "summary_latencies", "summary_quantiles")
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """What is on the page. `counter_latencies`: the counters of durations, nv_inference_*_duration_us.
    `histogram_latencies`: how long first responses of decoupled models took. `summary_latencies`: quantiles of the last
    minute.
    """

    counter_latencies: bool = True
    histogram_latencies: bool = False
    summary_latencies: bool = False

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> Self:
        """From KEY=VALUE texts, of which the last one counts. Raises InvalidArgumentError, UnsupportedError."""
        counters = True
        for text in texts:
            key, equals, value = text.partition("=")
            if not (key and equals and value):
                raise InvalidArgumentError(f"--metrics-config option format is '<setting>=<value>'. Got {text}")
            if key == "counter_latencies":
                if value.lower() not in _BOOLEANS:
                    raise InvalidArgumentError(f"--metrics-config: {key} is true or false, not '{value}'")
                counters = _BOOLEANS[value.lower()]
            elif key in _NOT_SERVED:
                _refuse(key, value)
            else:
                known = ", ".join(("counter_latencies", *_NOT_SERVED))
                raise InvalidArgumentError(f"--metrics-config: there is no setting '{key}'; there are {known}")
        return cls(counters)


DEFAULTS: Final = MetricsSettings()


def _refuse(key: str, value: str) -> None:
    if _BOOLEANS.get(value.lower()) is not False:
        raise UnsupportedError(
            f"--metrics-config: {key}={value} cannot be kept: the metrics page has counters of durations, and neither "
            "summaries nor histograms yet. Leave it out, and take averages from nv_inference_*_duration_us"
        )
