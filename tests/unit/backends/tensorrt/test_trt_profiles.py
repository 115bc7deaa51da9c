"""Which optimization profile a batch gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.backends.tensorrt.profiles import Profile, Range, choose, configured_profiles
from atoll.errors import ConfigError, InvalidArgumentError


def profile(index: int, least: tuple[int, ...], optimum: tuple[int, ...], most: tuple[int, ...]) -> Profile:
    return Profile(index, {"IN": Range(least, optimum, most)})


SMALL = profile(0, (1, 4), (2, 4), (4, 4))
LARGE = profile(1, (2, 4), (16, 4), (32, 4))


@pytest.mark.parametrize(
    ("rows", "index"), [(1, 0), (2, 0), (4, 0), (5, 1), (16, 1), (32, 1)], ids=lambda one: str(one)
)
def test_the_nearest_one_that_fits(rows: int, index: int) -> None:
    assert choose([SMALL, LARGE], {"IN": (rows, 4)}, {}).index == index
    assert choose([LARGE, SMALL], {"IN": (rows, 4)}, {}).index == index


def test_a_dimension_out_of_range_is_named() -> None:
    with pytest.raises(
        InvalidArgumentError,
        match=r"invalid shape for input 'IN'. Error details: model expected the shape of dimension 0 to be between 1 "
        "and 4 but received 40 .optimization profile 0., nor do the other 1 profiles of the instance fit",
    ):
        choose([SMALL, LARGE], {"IN": (40, 4)}, {})
    with pytest.raises(InvalidArgumentError, match=r"dimension 1 to be between 4 and 4 but received 5"):
        choose([SMALL], {"IN": (1, 5)}, {})
    with pytest.raises(InvalidArgumentError, match=r"\[1, 4, 1\], but the engine takes 2 dimensions"):
        choose([SMALL], {"IN": (1, 4, 1)}, {})


def test_values_of_shape_tensors_choose_too() -> None:
    shape = {"S": Range((2,), (2,), (2,))}
    near = Profile(0, shape, {"S": Range((1, 1), (2, 2), (4, 4))})
    far = Profile(1, shape, {"S": Range((5, 5), (6, 6), (9, 9))})
    assert choose([near, far], {"S": (2,)}, {"S": (6, 6)}).index == 1
    with pytest.raises(InvalidArgumentError, match=r"shape of value 1 to be between 1 and 4 but received 7"):
        choose([near, far], {"S": (2,)}, {"S": (4, 7)})


ranges = st.tuples(*[st.integers(0, 8)] * 3).map(sorted)
profiles = st.lists(st.lists(ranges, min_size=1, max_size=3), min_size=1, max_size=4)


@given(profiles, st.lists(st.integers(0, 9), min_size=1, max_size=3))
def test_only_one_that_takes_the_shape_is_chosen(found: list[list[list[int]]], shape: list[int]) -> None:
    all_of_them = [profile(i, *(tuple(dim[k] for dim in one) for k in range(3))) for i, one in enumerate(found)]

    def away(one: Profile) -> int | None:
        r = one.shapes["IN"]
        fits = len(shape) == len(r.most) and all(a <= b <= c for a, b, c in zip(r.least, shape, r.most, strict=True))
        return sum(abs(a - b) for a, b in zip(shape, r.optimum, strict=True)) if fits else None

    distances = {one.index: away(one) for one in all_of_them if away(one) is not None}
    if not distances:
        with pytest.raises(InvalidArgumentError, match=r"invalid shape for input 'IN'"):
            choose(all_of_them, {"IN": tuple(shape)}, {})
    else:
        assert distances[choose(all_of_them, {"IN": tuple(shape)}, {}).index] == min(distances.values())


def test_profiles_of_an_instance_group() -> None:
    assert configured_profiles([], 3, "g") == (0,)
    assert configured_profiles(["2", "0", "2"], 3, "g") == (2, 0)
    for wrong in ("3", "-1", "x", "", "٢", "9" * 40):
        with pytest.raises(ConfigError, match=r"g: profile '.*' is not one of the engine's, which has 3 optimization"):
            configured_profiles([wrong], 3, "g")
    with pytest.raises(ConfigError, match=r"has one optimization profile, 0"):
        configured_profiles(["1"], 1, "g")
