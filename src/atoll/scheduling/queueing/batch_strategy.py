"""Which requests may run together, said by code from outside: the entry points "atoll.batch_strategies". Pure.

The counterpart of Triton's batching libraries, whose four functions are here: making the strategy and letting it go,
`start` of a batch, `include` of a request.
"""

import logging
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Protocol, cast

from atoll.config.model_config import ModelConfig
from atoll.config.problems import Problem, config_error, suggestion
from atoll.errors import AtollError, InternalError, InvalidArgumentError, NotFoundError
from atoll.request import InferenceRequest

logger = logging.getLogger(__name__)

GROUP = "atoll.batch_strategies"
PARAMETER = "batch_strategy"
_LIBRARY = "TRITON_BATCH_STRATEGY_PATH"


class FormingBatch(Protocol):
    """What a strategy knows of the batch that is being put together."""

    def include(self, request: InferenceRequest) -> bool:
        """Whether the request may join. False ends the batch before it: it is the first of the next one.

        Called with the requests in their order, the first of the batch among them, which is in it whatever is said.
        The request is for reading only.
        """


class BatchStrategy(Protocol):
    """One per model version. Its methods are called under the lock of the model's queue, by one thread at a time: they
    must be quick and must not wait. A batch may be looked at several times before it runs, each time from its `start`.
    """

    def start(self) -> FormingBatch:
        """A batch is to be put together from the queue's head."""


StrategyMaker = Callable[[ModelConfig], BatchStrategy]


def strategy_names() -> list[str]:
    """The names of all installed strategies, sorted."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def find_strategy(name: str) -> StrategyMaker:
    """What makes a strategy of that name from a model's complete configuration.

    Raises NotFoundError listing the installed ones when there is none, InternalError when its package cannot be
    imported, InvalidArgumentError when it offers something that cannot be called.
    """
    points = list(entry_points(group=GROUP, name=name))
    if not points:
        near = suggestion(name, strategy_names())
        raise NotFoundError(
            f"unable to find batch strategy '{name}': no installed package offers it. "
            f"Installed strategies: {', '.join(strategy_names()) or 'none'}"
            + (f". Did you mean '{near}'?" if near else "")
        )
    try:
        made = points[0].load()
    except Exception as error:  # whatever somebody's module does on import
        raise InternalError(
            f"batch strategy '{name}' ({points[0].value}) cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not callable(made):
        raise InvalidArgumentError(
            f"batch strategy '{name}' ({points[0].value}) is not a class or function to be given the configuration"
        )
    return cast(StrategyMaker, made)


def strategy_problems(config: ModelConfig) -> list[Problem]:
    """What is wrong with the strategy that a configuration names."""
    problems = []
    library = config.parameter(_LIBRARY)
    if library:
        remedy = f"Offer its rule as a Python package, and name it in parameters {{ key: '{PARAMETER}' }}."
        message = "batching libraries in C are not used: batches form by the server's own rule"
        problems.append(Problem(f"parameters.{_LIBRARY}", message, library, "", remedy, warning=True))
    name = config.parameter(PARAMETER)
    if not name:
        return problems
    path = f"parameters.{PARAMETER}"
    if config.dynamic_batching is None or config.max_batch_size < 1:
        found = "no dynamic_batching" if config.dynamic_batching is None else "max_batch_size: 0"
        message = f"the batch strategy '{name}' has no effect: the model's requests run one by one"
        remedy = "Add dynamic_batching {} and a max_batch_size of 1 or more, or remove the strategy."
        return [*problems, Problem(path, message, found, "", remedy, warning=True)]
    try:
        find_strategy(name)
    except AtollError as error:
        remedy = f"Install a package that offers it under '{GROUP}', or remove the parameter."
        problems.append(Problem(path, str(error), "", "", remedy))
    return problems


def make_strategy(config: ModelConfig) -> "GuardedStrategy | None":
    """The strategy that a configuration names, if it does. Raises ConfigError when it cannot be had."""
    name = config.parameter(PARAMETER)
    if not name:
        return None
    try:
        strategy = find_strategy(name)(config)
        if not callable(getattr(strategy, "start", None)):
            raise InvalidArgumentError(f"batch strategy '{name}' made {strategy!r}, which has no method 'start'")
    except AtollError as error:
        raise _unusable(str(error)) from error
    except Exception as error:  # somebody's code
        raise _unusable(
            f"batch strategy '{name}' cannot be made for model '{config.name}': {type(error).__name__}: {error}"
        ) from error
    return GuardedStrategy(name, config.name, strategy)


def _unusable(message: str) -> AtollError:
    return config_error([Problem(f"parameters.{PARAMETER}", message, "", "", "")], "")


class GuardedStrategy:
    """A strategy whose failures cost no request: where it fails, the batch ends."""

    def __init__(self, name: str, model_name: str, strategy: BatchStrategy):
        self._name = name
        self._model_name = model_name
        self._strategy = strategy
        self._last_failure = ""

    def together(self, candidates: Sequence[InferenceRequest], max_batch_size: int) -> int:
        """How many of the candidates, from the first, may run together: at least one, if there are any.

        Only those are asked about that fit into the maximum, a number of items.
        """
        count = size = 0
        try:
            batch = self._strategy.start()
            for request in candidates:
                size += request.batch_size
                if size > max_batch_size:
                    return len(candidates)  # the batch ends here anyway
                if not batch.include(request) and count:
                    return count
                count += 1
        except Exception as error:
            self._log(error)
            return max(count, 1)
        return count

    def _log(self, error: Exception) -> None:
        """Once for each kind of failure in a row: a strategy may be asked thousands of times a second."""
        failure = f"{type(error).__name__}: {error}"
        if failure != self._last_failure:
            self._last_failure = failure
            logger.exception(
                "batch strategy '%s' failed for model '%s'; where it fails, a batch ends", self._name, self._model_name
            )
