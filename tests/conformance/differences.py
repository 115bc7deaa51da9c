"""Where Atoll answers otherwise than the real server on purpose, and why. Each entry is tested: it must differ as it says."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """For these questions Atoll answers with `status` and, in an error, with `text` in it."""

    questions: tuple[str, ...]
    status: int | str
    text: str
    why: str


HTTP: tuple[Difference, ...] = ()

GRPC: tuple[Difference, ...] = ()


def by_question(differences: tuple[Difference, ...]) -> dict[str, Difference]:
    """The table by question; a question stands in it once."""
    table = {name: difference for difference in differences for name in difference.questions}
    assert len(table) == sum(len(difference.questions) for difference in differences), "a question stands in the table twice"
    return table
