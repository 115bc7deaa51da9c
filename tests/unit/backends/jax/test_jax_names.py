"""The names of tensors, and which batch sizes are compiled; JAX itself is not needed for either."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.backends.api import ModelSource
from atoll.backends.jax.names import input_names, output_names, twice
from atoll.backends.jax.settings import compile_settings, filled_up, powers_of_two
from atoll.config.model_config import ModelConfig, ModelParameter
from atoll.errors import ConfigError


@dataclass(frozen=True)
class Position:
    idx: int


@dataclass(frozen=True)
class Key:
    key: Any


@dataclass(frozen=True)
class Attribute:
    name: str


def argument(number: int, *rest: Any) -> tuple[Any, ...]:
    return Position(0), Position(number), *rest


def keyword(name: str, *rest: Any) -> tuple[Any, ...]:
    return Position(1), Key(name), *rest


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ([argument(0)], ["INPUT__0"]),
        ([argument(0), argument(1)], ["INPUT__0", "INPUT__1"]),
        ([keyword("ids"), keyword("mask", Key("a"), Position(2))], ["ids", "mask.a.2"]),
        ([argument(0), keyword("scale")], ["INPUT__0", "scale"]),
        ([argument(0, Key("ids")), argument(0, Key("mask"), Key("low"))], ["ids", "mask.low"]),
        ([argument(0, Attribute("ids"))], ["ids"]),
        ([argument(0, Key("ids")), keyword("scale")], ["INPUT__0.ids", "scale"]),
        ([argument(0, Key("ids")), argument(1)], ["INPUT__0.ids", "INPUT__1"]),
        ([argument(0, Position(0)), argument(0, Position(1))], ["INPUT__0.0", "INPUT__0.1"]),
        ([argument(0, Key(7))], ["INPUT__0.7"]),
        ([], []),
    ],
)
def test_names_of_inputs(paths: list[Any], names: list[str]) -> None:
    assert input_names(paths) == names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ([()], ["OUTPUT__0"]),
        ([(Position(0),), (Position(1),)], ["OUTPUT__0", "OUTPUT__1"]),
        ([(Key("y"),), (Key("z"), Position(0))], ["y", "z.0"]),
        ([(Attribute("y"),)], ["y"]),
        ([(Position(0), Key("y")), (Position(1),)], ["OUTPUT__0.y", "OUTPUT__1"]),
    ],
)
def test_names_of_outputs(paths: list[Any], names: list[str]) -> None:
    assert output_names(paths) == names


def test_names_that_two_tensors_would_have() -> None:
    assert twice(["a", "b", "a", "c", "c"]) == ["a", "c"]
    assert twice(["a", "b"]) == []


@given(st.integers(1, 5000))
def test_sizes_ascend_to_the_largest_and_hold_every_batch(largest: int) -> None:
    sizes = powers_of_two(largest)
    assert sizes[0] == 1
    assert sizes[-1] == largest
    assert list(sizes) == sorted(set(sizes))
    for count in range(0, largest + 1, max(largest // 50, 1)):
        size = filled_up(count, sizes)
        assert size in sizes
        assert size >= count
        assert size < 2 * count or count <= 1


def source(max_batch_size: int, **parameters: str) -> ModelSource:
    records = {key: ModelParameter(string_value=value) for key, value in parameters.items()}
    config = ModelConfig(name="m", backend="jax", max_batch_size=max_batch_size, parameters=records)
    return ModelSource("m", 1, Path(), Path(), config)


@pytest.mark.parametrize(
    ("largest", "text", "sizes"),
    [(8, "", (1, 2, 4, 8)), (6, "", (1, 2, 4, 6)), (8, "3, 5", (3, 5, 8)), (8, "any", ()), (8, "ANY", ()), (0, "", ())],
)
def test_batch_sizes(largest: int, text: str, sizes: tuple[int, ...]) -> None:
    assert compile_settings(source(largest, batch_sizes=text)).batch_sizes == sizes


@pytest.mark.parametrize(
    ("key", "value"),
    [("batch_sizes", "9"), ("batch_sizes", "0"), ("max_compiled_shapes", "0"), ("compile_at_load", "perhaps")],
)
def test_wrong_values_are_named(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"parameter '{key}' of model 'm' is '{value}' but must be"):
        compile_settings(source(8, **{key: value}))
