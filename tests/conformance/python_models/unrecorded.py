"""What the real server cannot be asked, since it never answers or ends: what Atoll answers instead, and why."""

from dataclasses import dataclass, field

NEVER = "The real server never answers this, and cannot be asked anything more about the model."


@dataclass(frozen=True)
class Unrecorded:
    """Of a scenario: by the beginning of a step's name, the status of its answer and texts that are in it."""

    answers: dict[str, tuple[int | str, tuple[str, ...]]] = field(default_factory=dict)
    why: str = NEVER


def _refused(*texts: str) -> Unrecorded:
    return Unrecorded({"first: load": (400, texts), "failed: state": (0, ("UNAVAILABLE",))})


def _failed(name: str) -> Unrecorded:
    return Unrecorded({f"first: {name}": (500, (name,)), f"second: {name}": ("INTERNAL", (name,))})


def _ended(*texts: str) -> Unrecorded:
    return Unrecorded({"first: stream": ("OK", texts), "second, with": ("OK", texts)})


UNRECORDED: dict[str, Unrecorded] = {
    "no_file": _refused("model.py"),
    "module_ends_the_process": _refused("is not healthy", "module_ends_the_process"),
    "auto_complete_ends_the_process": _refused("auto_complete_ends_the_process"),
    "execute_returns_none": _failed("execute_returns_none"),
    "execute_returns_nothing": _failed("execute_returns_nothing"),
    "execute_returns_a_list_of_none": _failed("execute_returns_a_list_of_none"),
    "decoupled_never_sends": _ended("decoupled_never_sends"),
    "decoupled_drops_its_sender": _ended("decoupled_drops_its_sender"),
    "plain_sends_without_final": _ended("plain_sends_without_final"),
    "decoupled_reschedules_after_a_response": _ended("decoupled_reschedules_after_a_response"),
}
