"""Which model is loaded when, where some are made of others."""

import threading
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import ConfigError
from atoll.models.catalog import ModelKey
from atoll.models.ensembles.load_order import StepsFirst, Turn, load_in_order
from atoll.models.ensembles.steps import circular

KEYS = [ModelKey(f"m{number}") for number in range(7)]


class Models:
    """Models with these steps; notes who was loaded, and in which order."""

    def __init__(self, steps: Mapping[ModelKey, Sequence[ModelKey]], broken: Sequence[ModelKey] = ()) -> None:
        self._steps, self._broken = steps, broken
        self._lock = threading.Lock()
        self.loaded: list[ModelKey] = []
        self.circles: dict[ModelKey, tuple[ModelKey, ...]] = {}

    def load(self, turn: Turn) -> None:
        steps = self._steps.get(turn.key, ())
        if steps and not turn.steps_ready:
            raise StepsFirst(dict.fromkeys(steps))
        with self._lock:
            self.loaded.append(turn.key)
            if turn.circle:
                self.circles[turn.key] = turn.circle
        if turn.circle or turn.key in self._broken:
            raise ConfigError("broken")


def load(models: Models, wanted: Sequence[ModelKey], threads: int = 3) -> set[ModelKey]:
    return set(load_in_order(dict.fromkeys(wanted), models.load, threads))


def test_steps_come_first_and_are_loaded_though_nobody_named_them() -> None:
    a, b, c = KEYS[:3]
    models = Models({a: [b], b: [c]})
    assert not load(models, [a])
    assert models.loaded == [c, b, a]


def test_what_fails_does_not_keep_others_from_their_turn() -> None:
    a, b, c = KEYS[:3]
    models = Models({a: [b, c]}, broken=[b])
    assert load(models, [a, b]) == {b}
    assert models.loaded[-1] == a
    assert len(models.loaded) == 3


@pytest.mark.parametrize(
    ("steps", "circles"),
    [
        ({0: [0]}, {0: (0,)}),
        ({0: [1], 1: [0]}, {0: (0, 1), 1: (1, 0)}),
        ({0: [1], 1: [2], 2: [1]}, {1: (1, 2), 2: (2, 1)}),  # 0 has its turn when those have failed
    ],
)
def test_circles_are_told(steps: Mapping[int, Sequence[int]], circles: Mapping[int, Sequence[int]]) -> None:
    models = Models({KEYS[key]: [KEYS[step] for step in found] for key, found in steps.items()})
    assert load(models, [KEYS[0]]) == {KEYS[key] for key in circles}
    assert models.circles == {KEYS[key]: tuple(KEYS[one] for one in way) for key, way in circles.items()}
    assert set(models.loaded) == {KEYS[key] for key in steps}


@given(
    st.dictionaries(st.sampled_from(KEYS), st.lists(st.sampled_from(KEYS), max_size=4, unique=True)),
    st.lists(st.sampled_from(KEYS), min_size=1, unique=True),
    st.integers(1, 4),
)
def test_each_is_loaded_once_and_after_its_steps(
    steps: dict[ModelKey, list[ModelKey]], wanted: list[ModelKey], threads: int
) -> None:
    models = Models(steps)
    failed = load(models, wanted, threads)
    assert len(models.loaded) == len(set(models.loaded))
    reached = set(wanted)
    for _ in KEYS:
        reached |= {step for key in reached for step in steps.get(key, ())}
    assert set(models.loaded) == reached
    assert failed == models.circles.keys()
    place = {key: number for number, key in enumerate(models.loaded)}
    for key in reached - failed:
        assert all(place[step] < place[key] for step in steps.get(key, ()))
    for key, circle in models.circles.items():
        assert circle[0] == key
        assert all(after in steps[one] for one, after in zip(circle, [*circle[1:], key], strict=True))


def test_of_a_large_circle_not_all_is_said() -> None:
    keys = [ModelKey(f"model_{number}") for number in range(500)]
    models = Models({key: [after] for key, after in zip(keys, [*keys[1:], keys[0]], strict=True)})
    assert load(models, keys[:1]) == set(keys)
    assert models.circles[keys[7]] == (*keys[7:], *keys[:7])
    problem = circular("model_7", map(str, models.circles[keys[7]]))
    assert "model_106 -> 400 more -> model_7" in problem.found
    assert "model_7 -> ... -> model_8 -> model_7" in problem.message
