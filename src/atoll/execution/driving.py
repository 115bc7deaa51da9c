"""Who drives a free instance: the thread that submitted the request, or the instance's own. Pure.

A hand-over to another thread and back costs more than a small model's whole execution. So an instance whose
executions have lately been short may run on the submitter's thread, where nothing else is delayed for longer than one
of them; a long one, or a few that are not short, end that until it has proven itself again.
"""

from dataclasses import dataclass

SHORT_NS = 500_000  # about what a hand-over each way costs when both cores are busy, several times over
LONG_NS = 4 * SHORT_NS  # as long as an event loop may ever be held up twice in a row
PROOF = 32  # so many more short executions than hiccups
CREDIT = 32  # collected beyond the proof
HICCUP = 16  # what one execution between the two costs: the machine had other work for a moment, as small ones do


@dataclass(slots=True)
class Pace:
    """How long an instance's executions have lately been, as a score that the short ones raise."""

    score: int = 0

    def observe(self, execution_ns: int) -> None:
        """Take note of one execution. A long one ends all credit at once."""
        if execution_ns <= SHORT_NS:
            if self.score < PROOF + CREDIT:
                self.score += 1
        elif execution_ns <= LONG_NS:
            self.score = max(self.score - HICCUP, 0)
        else:
            self.score = 0

    @property
    def is_short(self) -> bool:
        """Whether a submitter may wait for the next one."""
        return self.score >= PROOF


def may_submitter_drive(*, enabled: bool, bounded: bool, waits: bool) -> bool:
    """Whether a model's submitting threads may ever drive; whether they may now depends on an instance's pace.

    `enabled`: the operator allows it; `bounded`: the backend declares it; `waits`: the scheduler has a queue delay, and
    timed waits belong to the instance's thread.
    """
    return enabled and bounded and not waits
