"""Which optimization profile of an engine fits a batch. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from atoll.errors import ConfigError, InvalidArgumentError

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The least, the best and the largest of a tensor's dimensions, or of a shape tensor's values."""

    least: Shape
    optimum: Shape
    most: Shape


@dataclass(frozen=True, slots=True)
class Profile:
    """`shapes` of all inputs; `values` of those that are shape tensors, where the engine says them."""

    index: int
    shapes: Mapping[str, Range]
    values: Mapping[str, Range] = field(default_factory=dict)


def configured_profiles(names: Sequence[str], count: int, where: str) -> tuple[int, ...]:
    """The profiles that an instance group names, which has those of `count`; the first one where it names none.

    Raises ConfigError for one that there is not.
    """
    if not names:
        return (0,)
    for name in names:
        if not (name.isascii() and name.isdigit() and len(name) < 10 and int(name) < count):
            has = f"{count} optimization profiles, 0 to {count - 1}" if count > 1 else "one optimization profile, 0"
            raise ConfigError(
                f"{where}: profile '{name[:80]}' is not one of the engine's, which has {has}; "
                "correct instance_group.profile in config.pbtxt"
            )
    return tuple(dict.fromkeys(int(name) for name in names))


def choose(profiles: Sequence[Profile], shapes: Mapping[str, Shape], values: Mapping[str, Shape]) -> Profile:
    """Of those that take these shapes and these shape tensors' values, the one whose optimum is nearest.

    Raises InvalidArgumentError where none takes them: it names the first one's first dimension that is out of range.
    """
    best: Profile | None = None
    least = -1
    for profile in profiles:
        away = _distance(profile, shapes, values)
        if away >= 0 and (best is None or away < least):
            best, least = profile, away
            if away == 0:
                break
    if best is None:
        others = "" if len(profiles) == 1 else f", nor do the other {len(profiles) - 1} profiles of the instance fit"
        raise InvalidArgumentError(f"{_misfit(profiles[0], shapes, values)}{others}")
    return best


def _distance(profile: Profile, shapes: Mapping[str, Shape], values: Mapping[str, Shape]) -> int:
    """How far all are from the optimum together; -1 where one is out of range."""
    total = 0
    for given, ranges in ((shapes, profile.shapes), (values, profile.values)):
        for name, shape in given.items():
            allowed = ranges.get(name)
            if allowed is None:
                continue
            if len(shape) != len(allowed.most):
                return -1
            for dim, low, best, high in zip(shape, allowed.least, allowed.optimum, allowed.most, strict=True):
                if not low <= dim <= high:
                    return -1
                total += abs(dim - best)
    return total


def _misfit(profile: Profile, shapes: Mapping[str, Shape], values: Mapping[str, Shape]) -> str:
    for what, given, ranges in (
        ("dimension", shapes, profile.shapes),
        ("value", values, profile.values),
    ):
        for name, shape in given.items():
            allowed = ranges.get(name)
            if allowed is None:
                continue
            start = f"request specifies invalid shape for input '{name}'"
            if len(shape) != len(allowed.most):
                return f"{start}: {list(shape)}, but the engine takes {len(allowed.most)} {what}s"
            for position, (dim, low, high) in enumerate(zip(shape, allowed.least, allowed.most, strict=True)):
                if not low <= dim <= high:
                    return (
                        f"{start}. Error details: model expected the shape of {what} {position} to be between {low} "
                        f"and {high} but received {dim} (optimization profile {profile.index})"
                    )
    raise AssertionError("a batch does not fit a profile, and nothing says why. This is a bug")
