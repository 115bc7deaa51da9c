"""How a configuration's names meet a model's arguments and results."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.backends.pytorch.names import Forward, OutputSlot, bind_inputs, bind_outputs, listed
from atoll.errors import ConfigError

XY = Forward(arguments=("x", "y"), optional=frozenset({"y"}), output_count=2)


@pytest.mark.parametrize(
    ("names", "bound"),
    [
        (["x", "y"], ("x", "y")),
        (["y", "x"], ("x", "y")),
        (["x"], ("x", None)),
        (["INPUT__1", "INPUT__0"], ("INPUT__0", "INPUT__1")),
        (["a__0", "b__1"], ("a__0", "b__1")),
        (["second", "first"], ("second", "first")),
    ],
)
def test_inputs_are_bound(names: list[str], bound: tuple[str | None, ...]) -> None:
    assert bind_inputs("m", XY, names) == bound


@pytest.mark.parametrize("names", [["y"], ["x", "z"], ["x__0", "y__2"], ["INPUT__1"], ["a", "b", "c"], []])
def test_inputs_that_do_not_fit_are_refused(names: list[str]) -> None:
    with pytest.raises(
        ConfigError, match=r"model 'm': the configuration's \d inputs are .* takes 2: x, y \(optional\)"
    ):
        bind_inputs("m", XY, names)


def test_the_order_does_not_stand_for_names_that_a_file_says() -> None:
    strict = Forward(arguments=("x", "y"), named=True)
    assert bind_inputs("m", strict, ["y__1", "x__0"]) == ("x__0", "y__1")
    with pytest.raises(ConfigError, match="no rule for names fits all of them"):
        bind_inputs("m", strict, ["a", "b"])


def test_a_dict_takes_any_names_and_unknown_arguments_are_numbered() -> None:
    assert bind_inputs("m", Forward(arguments=("d",), keyed=True), ["b", "a__7"]) == ("b", "a__7")
    assert bind_inputs("m", Forward(), ["b__1", "a__0"]) == ("a__0", "b__1")
    assert bind_inputs("m", Forward(), ["b", "a"]) == ("b", "a")
    with pytest.raises(ConfigError, match="none has the index 0: number them from 0 to 1"):
        bind_inputs("m", Forward(), ["b__1", "a__2"])


@given(st.permutations([f"t__{i}" for i in range(5)]))
def test_every_input_is_bound_once_wherever_it_stands(names: list[str]) -> None:
    forward = Forward(arguments=tuple("abcde"))
    assert bind_inputs("m", forward, names) == tuple(f"t__{i}" for i in range(5))


def test_outputs_by_key_by_index_and_by_order() -> None:
    keyed = Forward(outputs=("p", "q"))
    assert bind_outputs("m", keyed, ["q", "p"]).slots == (OutputSlot("q", 1, "q"), OutputSlot("p", 0, "p"))
    assert bind_outputs("m", keyed, ["OUTPUT__1"]).slots == (OutputSlot("OUTPUT__1", 1, "q"),)
    assert bind_outputs("m", XY, ["b__1"]).slots == (OutputSlot("b__1", 1, "b__1"),)
    ordered = bind_outputs("m", XY, ["b", "a"])
    assert [(one.name, one.index) for one in ordered.slots] == [("b", 0), ("a", 1)]
    assert ordered.exact
    assert not bind_outputs("m", XY, ["b__1"]).exact


@pytest.mark.parametrize("names", [["p", "r"], ["OUTPUT__2"], ["a", "b", "c"]])
def test_outputs_that_a_dict_lacks_are_refused(names: list[str]) -> None:
    with pytest.raises(ConfigError, match="the model returns a dict of 2: p, q; name them by its keys"):
        bind_outputs("m", Forward(outputs=("p", "q")), names)


def test_outputs_of_a_dict_may_be_left_out() -> None:
    assert bind_outputs("m", Forward(outputs=("p", "q")), ["q"]).slots == (OutputSlot("q", 1, "q"),)


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], ["OUTPUT__2"]])
def test_outputs_of_another_number_are_refused(names: list[str]) -> None:
    with pytest.raises(
        ConfigError, match=r"the model returns 2 tensors; name those to be served OUTPUT__0 to OUTPUT__1"
    ):
        bind_outputs("m", XY, names)


def test_many_names_are_shown_in_part() -> None:
    assert listed([]) == "none"
    assert listed([str(i) for i in range(100)]).endswith("31 and 68 more")
