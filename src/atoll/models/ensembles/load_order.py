"""Loading several models, those of an ensemble's steps before the ensemble, and side by side what can be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from atoll.errors import AtollError
from atoll.models.catalog import ModelKey
from atoll.models.side_by_side import work_side_by_side
from atoll.repositories.repository import Repository

Models = Mapping[ModelKey, Repository | None]


class StepsFirst(Exception):  # noqa: N818 - nothing is wrong
    """The model is an ensemble: `steps` are the models to load before it, as far as there are any."""

    def __init__(self, steps: Models):
        super().__init__("the models of the steps come first")
        self.steps = steps


@dataclass(frozen=True, slots=True)
class Turn:
    """A model's turn to be loaded. `steps_ready`: those of its steps have had theirs. `circle`: it is one of its own
    steps, by way of these ensembles."""

    key: ModelKey
    repository: Repository | None
    steps_ready: bool = False
    circle: tuple[ModelKey, ...] = ()


Load = Callable[[Turn], None]


def load_in_order(
    wanted: Models, load: Load, threads: int, *, leave_behind: bool = False
) -> dict[ModelKey, AtollError]:
    """Call `load` for each model, at most so many at once, until it has not raised StepsFirst.

    The models of steps are loaded too, where they are not wanted themselves. Returns those that failed. One alone is
    loaded by the calling thread; with `leave_behind` never, so that who interrupts this need not wait.
    """
    repositories = dict(wanted)
    waiting: dict[ModelKey, frozenset[ModelKey]] = {key: frozenset() for key in wanted}
    asked: set[ModelKey] = set()
    failed: dict[ModelKey, AtollError] = {}
    while waiting:
        turns = [
            Turn(key, repositories[key], key in asked) for key, steps in waiting.items() if not steps & waiting.keys()
        ]
        if not turns:
            turns = [Turn(key, repositories[key], True, circle) for key in waiting if (circle := _circle(key, waiting))]
        further: dict[ModelKey, Models] = {}

        # called before this turn of the loop is over
        def take(turn: Turn) -> None:
            try:
                load(turn)
            except StepsFirst as first:
                further[turn.key] = first.steps  # noqa: B023
            except AtollError as error:
                failed[turn.key] = error

        if len(turns) == 1 and not leave_behind:
            take(turns[0])
        else:
            work_side_by_side(take, turns, threads, "load")
        for turn in turns:
            del waiting[turn.key]
        for key, steps in further.items():
            asked.add(key)
            waiting[key] = frozenset(steps)
            for step, repository in steps.items():
                if step not in repositories:
                    repositories[step] = repository
                    waiting[step] = frozenset()
    return failed


def _circle(start: ModelKey, steps: Mapping[ModelKey, frozenset[ModelKey]]) -> tuple[ModelKey, ...]:
    """The way from a model by way of its steps back to itself; empty where there is none."""
    before: dict[ModelKey, ModelKey] = {}  # by way of which each was found first
    left = [start]
    while left:
        one = left.pop()
        for step in sorted(steps.get(one, ())):
            if step == start:
                way = [one]
                while way[-1] != start:
                    way.append(before[way[-1]])
                return tuple(reversed(way))
            if step not in before:
                before[step] = one
                left.append(step)
    return ()
