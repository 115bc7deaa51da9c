"""What has happened to a model since the server began to know it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelEvents:
    """`loads`: how often it was brought into service, or what is served of it changed; `load_failures`: how often that
    failed, tries in a row as one; `unloads`: how often it was taken out.
    """

    name: str
    loads: int = 0
    load_failures: int = 0
    unloads: int = 0


def added_up(name: str, events: list[ModelEvents]) -> ModelEvents:
    """Of models that have one name, in several namespaces."""
    return ModelEvents(
        name,
        sum(one.loads for one in events),
        sum(one.load_failures for one in events),
        sum(one.unloads for one in events),
    )
