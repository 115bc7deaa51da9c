"""Who drives a free instance: the thread that submitted the request, or the instance's own. Pure.

A hand-over to another thread and back costs more than a small model's whole execution. So an instance whose
executions have lately been short may run on the submitter's thread, where nothing else is delayed for longer than one
of them; the first long one ends that until it has proven itself again.
"""

from dataclasses import dataclass

SHORT_NS = 500_000  # about what a hand-over each way costs when both cores are busy, several times over
PROOF = 32  # so many short executions in a row


@dataclass(slots=True)
class Pace:
    """How long an instance's executions have lately been."""

    short_in_a_row: int = 0

    def observe(self, execution_ns: int) -> None:
        """Take note of one execution."""
        if execution_ns > SHORT_NS:
            self.short_in_a_row = 0
        elif self.short_in_a_row < PROOF:
            self.short_in_a_row += 1

    @property
    def is_short(self) -> bool:
        return self.short_in_a_row >= PROOF


def may_submitter_drive(*, enabled: bool, bounded: bool, waits: bool, short: bool, can_defer: bool) -> bool:
    """Whether the submitting thread may drive.

    `enabled`: the operator allows it; `bounded`: the backend declares it; `waits`: the scheduler has a queue delay,
    and timed waits belong to the instance's thread; `short`: the instance's pace; `can_defer`: the request says how
    to come back.
    """
    return enabled and bounded and short and can_defer and not waits
