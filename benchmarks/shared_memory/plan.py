"""Which tensors travel, and how; the ratios to reach: data only."""

from dataclasses import dataclass, replace

from benchmarks.plan import Case
from benchmarks.python.plan import Load

FP32_BYTES = 4
IN_REQUESTS, SHARED = "in requests", "shared memory"
WAYS = (IN_REQUESTS, SHARED)


@dataclass(frozen=True)
class Travel(Load):
    """A load of the benchmark of Python models, whose tensors travel in one of the two ways."""

    size: str = ""
    way: str = IN_REQUESTS

    def case(self) -> Case:
        shared = self.elements * FP32_BYTES if self.way == SHARED else 0
        return replace(super().case(), shared_output_bytes=shared)


def _both_ways(size: str, model: str, elements: int, clients: tuple[int, ...], stretch: int = 1) -> list[Travel]:
    return [
        Travel(f"{size}, {way}", model, elements, clients=clients, stretch=stretch, size=size, way=way) for way in WAYS
    ]


LOADS: tuple[Travel, ...] = (
    *_both_ways("1MB", "python_identity_1mb", 1 << 18, (1, 4)),
    *_both_ways("16MB", "python_identity_16mb", 1 << 22, (1, 4), stretch=2),
)

IN_REQUESTS_OVER_RIVAL = 1.2  # Atoll's throughput over the real Triton's, tensors in requests
SHARED_OVER_IN_REQUESTS = 1.0  # Atoll's throughput with shared memory over its own without: more than this
