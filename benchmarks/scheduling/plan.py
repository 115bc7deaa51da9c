"""Which models are compared with which, at how many clients, and the ratios to reach: data only."""

from dataclasses import dataclass
from typing import Literal

from benchmarks.plan import PROTOCOLS, Case, Protocol, Side, Tensor

Subject = Literal["ensembles", "threads", "steps", "sequences"]

SUBJECTS: tuple[Subject, ...] = ("ensembles", "threads", "steps", "sequences")
LIVE_SEQUENCES = 64
_ROW = (Tensor("INPUT0", "FP32", (16,)),)


@dataclass(frozen=True)
class Comparison:
    """`ours` over `theirs`, measured in turns at each number of clients, and the bound on the ratio."""

    subject: Subject
    ours: Case
    theirs: Case
    clients: tuple[int, ...]
    measure: Literal["throughput", "p50"]
    bound: float
    protocols: tuple[Protocol, ...] = PROTOCOLS

    @property
    def needs_rival(self) -> bool:
        return "rival" in (self.ours.side, self.theirs.side)

    def met_by(self, ratio: float) -> bool:
        return ratio <= self.bound if self.measure == "p50" else ratio >= self.bound

    @property
    def words(self) -> str:
        return f"{'<=' if self.measure == 'p50' else '>='} {self.bound:g}"


def _case(side: Side, model: str, sequence_length: int = 0) -> Case:
    return Case(side, model, _ROW, sequence_length=sequence_length)


COMPARISONS: tuple[Comparison, ...] = (
    Comparison(
        "ensembles",
        _case("atoll", "two_identities"),
        _case("rival", "two_identities"),
        clients=(1, 8, 32),
        measure="throughput",
        bound=1.5,
    ),
    Comparison(
        "threads",
        _case("atoll", "two_in_threads"),
        _case("rival", "two_identities"),
        clients=(1, 8, 32),
        measure="throughput",
        bound=1.5,
    ),
    Comparison(
        "steps", _case("atoll", "three_steps"), _case("atoll", "one_step"), clients=(1,), measure="p50", bound=1.6
    ),
    Comparison(
        "sequences",
        _case("atoll", "in_sequence", sequence_length=100),
        _case("atoll", "in_batches"),
        clients=(LIVE_SEQUENCES,),
        measure="throughput",
        bound=0.9,
    ),
)
