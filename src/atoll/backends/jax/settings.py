"""Which shapes of a model are compiled, and when."""

from collections.abc import Sequence
from dataclasses import dataclass

from atoll.backends.api import ModelSource
from atoll.backends.parameters import Parameters

MOST_PROGRAMS = 4096
DEFAULT_PROGRAMS = 32
ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileSettings:
    """`batch_sizes` ascend and end with max_batch_size; a batch is filled up to the next of them. Where there are none,
    each size is compiled as it comes. `most` is how many programs a device keeps of those compiled on demand.
    """

    batch_sizes: tuple[int, ...] = ()
    at_load: bool = True
    most: int = DEFAULT_PROGRAMS


def compile_settings(source: ModelSource) -> CompileSettings:
    """What the model's configuration says. Raises ConfigError naming the key and what it may be."""
    parameters = Parameters(source)
    return CompileSettings(
        batch_sizes=_batch_sizes(parameters, source.config.max_batch_size),
        at_load=parameters.switch("compile_at_load", True),
        most=parameters.number("max_compiled_shapes", MOST_PROGRAMS, least=1, default=DEFAULT_PROGRAMS),
    )


def powers_of_two(largest: int) -> tuple[int, ...]:
    """1, 2, 4 and so on, and `largest` itself."""
    sizes = [1]
    while sizes[-1] * 2 < largest:
        sizes.append(sizes[-1] * 2)
    return (*sizes, largest) if largest > 1 else (1,)


def filled_up(count: int, sizes: Sequence[int]) -> int:
    """The smallest of the ascending sizes that holds so many; `count` itself beyond all of them."""
    return next((size for size in sizes if size >= count), count)


def _batch_sizes(parameters: Parameters, largest: int) -> tuple[int, ...]:
    text = parameters.text("batch_sizes")
    if largest <= 0 or text.lower() == ANY:
        return ()
    if not text:
        return powers_of_two(largest)
    sizes = {largest}
    for part in text.split(","):
        word = part.strip()
        if not (word.isascii() and word.isdigit() and len(word) < 10 and 0 < int(word) <= largest):
            raise parameters.wrong("batch_sizes", f"whole numbers from 1 to max_batch_size ({largest}), or '{ANY}'")
        sizes.add(int(word))
    return tuple(sorted(sizes))
