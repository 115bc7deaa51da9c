"""Which models are loaded when a server starts."""

from collections.abc import Sequence

from atoll.errors import AtollError, InvalidArgumentError
from atoll.models.catalog import Listing, ModelKey, named
from atoll.repositories.repository import Repository

Wanted = dict[ModelKey, Repository]
Failures = dict[str, AtollError]


def wanted_at_start(
    mode: str, names: Sequence[str], listing: Listing, functions: Repository
) -> tuple[Wanted, Failures]:
    """The models to load in this mode, with what is not a model and should be one. `names`: of --load-model;
    `functions`: the repository of Python functions, which are loaded in every mode.

    Raises InvalidArgumentError for names that cannot be given in this mode, or not together.
    """
    if mode == "explicit":
        wanted, failures = _named(names, listing)
        return {**{key: one for key, one in listing.models.items() if one is functions}, **wanted}, failures
    if names:
        raise InvalidArgumentError("Use of '--load-model' requires setting '--model-control-mode=explicit' as well.")
    return dict(listing.models), {} if mode == "poll" else _clashes(listing)


def _named(names: Sequence[str], listing: Listing) -> tuple[Wanted, Failures]:
    names = list(dict.fromkeys(names))
    if "*" in names:
        if len(names) > 1:
            raise InvalidArgumentError(
                "Wildcard model name '*' must be the ONLY startup model if specified at all: give --load-model=* "
                "alone, or the names"
            )
        return dict(listing.models), _clashes(listing)
    found: Wanted = {}
    failures: Failures = {}
    for name in names:
        try:
            found |= named(name, listing)
        except AtollError as error:
            failures[name] = error
    return found, failures


def _clashes(listing: Listing) -> Failures:
    return {str(key): error for key, error in listing.clashes.items()}
