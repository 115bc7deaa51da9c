"""What a model's parameters and the command line say about tabular models."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.backends.api import ModelSource
from atoll.backends.parameters import MAX_THREADS, Parameters

_RANGE = re.compile(r"(\d{1,9})\s*,\s*(\d{1,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class TabularSettings:
    """`threads` are for one execution. `methods`: by the names of outputs, what they are of. `iterations`: the first,
    and the one after the last, of those that predict; None where nothing is said. `trusted_types` and `pickles` are the
    operator's, who alone can say so.
    """

    threads: int = 1
    methods: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    iterations: tuple[int, int] | None = None
    best_iteration: bool = True
    trusted_types: tuple[str, ...] = ()
    pickles: bool = False


def tabular_settings(source: ModelSource) -> TabularSettings:
    """Read them. Raises ConfigError naming the key and what it may be."""
    parameters = Parameters(source)
    return TabularSettings(
        threads=parameters.number("threads", MAX_THREADS, least=1, default=1),
        methods=_methods(parameters),
        method=parameters.text("predict_method"),
        iterations=_iterations(parameters),
        best_iteration=parameters.switch("best_iteration", True),
        trusted_types=tuple(re.findall(r"[^;,\s]+", source.settings.get("trusted-types", ""))),
        pickles=parameters.operator_allows("allow-pickle"),
    )


def _methods(parameters: Parameters) -> dict[str, str]:
    text = parameters.text("outputs")
    found: dict[str, str] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, mark, method = (one.strip() for one in part.partition("="))
        if not (name and mark and method):
            raise parameters.wrong("outputs", "such as 'LABEL=predict, SCORES=predict_proba'")
        found[name] = method
    return found


def _iterations(parameters: Parameters) -> tuple[int, int] | None:
    text = parameters.text("iteration_range")
    if not text:
        return None
    found = _RANGE.fullmatch(text)
    if found is None or not int(found[1]) < int(found[2]):
        raise parameters.wrong("iteration_range", "the first iteration and the one after the last, such as '0,50'")
    return int(found[1]), int(found[2])
