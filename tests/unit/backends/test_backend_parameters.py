"""Parameters of models and settings of backends: which wins, what is read, and what is said of a wrong value."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from atoll.backends.api import ModelSource
from atoll.backends.parameters import Parameters
from atoll.config.model_config import ModelConfig, ModelParameter
from atoll.errors import ConfigError


def read(written: Mapping[str, str] | None = None, settings: Mapping[str, str] | None = None) -> Parameters:
    records = {key: ModelParameter(string_value=value) for key, value in (written or {}).items()}
    config = ModelConfig(name="m", backend="mine", parameters=records)
    return Parameters(ModelSource("m", 1, Path("m"), Path("m/1"), config, settings=settings or {}))


def test_the_model_wins_over_the_command_line() -> None:
    assert read().text("key") == ""
    assert read(settings={"key": " of all "}).text("key") == "of all"
    assert read({"key": " own "}, {"key": "of all"}).text("key") == "own"
    assert read({"key": ""}, {"key": "of all"}).text("key") == "", "what is written counts, though it is empty"


@pytest.mark.parametrize(("text", "number"), [("", 3), ("0", 0), ("1", 1), (" 64 ", 64)])
def test_numbers(text: str, number: int) -> None:
    assert read({"threads": text}).number("threads", 64, default=3) == number


@pytest.mark.parametrize("text", ["65", "-1", "1.5", "one", "0x10", "٣", "1e2", "9" * 400])
def test_wrong_numbers(text: str) -> None:
    with pytest.raises(ConfigError, match="must be a whole number from 0 to 64") as refusal:
        read({"threads": text}).number("threads", 64)
    (problem,) = refusal.value.problems
    assert problem.path == "parameters['threads']"
    assert f"'{text}'" in str(refusal.value)


def test_a_number_below_the_least() -> None:
    with pytest.raises(ConfigError, match="must be a whole number from 2 to 8"):
        read({"streams": "1"}).number("streams", 8, least=2)
    assert read({"streams": "2"}).number("streams", 8, least=2) == 2


@pytest.mark.parametrize(("text", "number"), [("", 0.5), ("0.25", 0.25), (" 1 ", 1.0), ("1e-1", 0.1)])
def test_decimals(text: str, number: float) -> None:
    assert read({"share": text}).decimal("share", "from 0 to 1", least=0, largest=1, default=0.5) == number


@pytest.mark.parametrize("text", ["1.5", "-0.1", "nan", "inf", "-inf", "half", "0,5", "1e999"])
def test_wrong_decimals(text: str) -> None:
    with pytest.raises(ConfigError, match=f"is '{text}' but must be from 0 to 1"):
        read({"share": text}).decimal("share", "from 0 to 1", least=0, largest=1)
    if text in ("nan", "inf", "-inf", "1e999"):
        with pytest.raises(ConfigError, match="must be a number"):
            read({"share": text}).decimal("share", "a number")


@pytest.mark.parametrize(
    ("text", "on"), [("1", True), ("0", False), ("true", True), ("FALSE", False), ("Yes", True), ("off", False)]
)
def test_switches(text: str, on: bool) -> None:
    assert read({"fast": text}).switch("fast", not on) is on


def test_a_switch_that_nobody_sets() -> None:
    assert read().switch("fast", True) is True
    assert read().switch("fast") is False


@pytest.mark.parametrize("text", ["2", "maybe", "truee", "\x00"])
def test_wrong_switches(text: str) -> None:
    with pytest.raises(ConfigError, match="must be true or false"):
        read({"fast": text}).switch("fast")


def test_choices_are_given_as_they_are_offered() -> None:
    offered = ("LATENCY", "THROUGHPUT")
    assert read({"hint": "latency"}).choice("hint", offered) == "LATENCY"
    assert read().choice("hint", offered, "THROUGHPUT") == "THROUGHPUT"
    with pytest.raises(ConfigError, match="'speed' but must be one of LATENCY, THROUGHPUT"):
        read({"hint": "speed"}).choice("hint", offered)


def test_keys_of_a_form_from_both_places() -> None:
    found = read({"s.b": "2", "s.a": "1", "other": "x"}, {"s.a": "of all", "s.c": "3"})
    assert list(found.matching(re.compile(r"s\.\w")).items()) == [("s.a", "1"), ("s.b", "2"), ("s.c", "3")]


def test_what_only_the_operator_allows() -> None:
    assert not read({"allow-pickle": "true"}).operator_allows("allow-pickle"), "a model cannot allow it to itself"
    assert read({"allow-pickle": "false"}, {"allow-pickle": "true"}).operator_allows("allow-pickle")
    assert not read(settings={"allow-pickle": "0"}).operator_allows("allow-pickle")
    with pytest.raises(
        ConfigError, match="--backend-config=mine,allow-pickle=sure is 'sure' but must be true or false"
    ):
        read(settings={"allow-pickle": "sure"}).operator_allows("allow-pickle")


def test_a_wrong_value_is_said_to_stand_where_it_stands() -> None:
    of_model = read({"k": "x"}).wrong("k", "y")
    assert str(of_model) == "parameter 'k' of model 'm' is 'x' but must be y"
    of_all = read(settings={"k": "x"}).wrong("k", "y")
    assert str(of_all) == "--backend-config=mine,k=x is 'x' but must be y"
    assert of_all.problems == ()
