"""Objects that stand for something in this process: a copy in another one would mean nothing."""

from typing import NoReturn


class Unpicklable:
    """Refuses to be pickled, and so to be copied."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"cannot pickle '{type(self).__name__}' object: it belongs to a server in this process. Send the arrays"
        )
