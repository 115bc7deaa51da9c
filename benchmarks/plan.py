"""What is measured, against what, and the ratios to reach: data only, so that a reader can check it at a glance."""

from dataclasses import dataclass
from typing import Literal

Side = Literal["atoll", "rival"]
Protocol = Literal["http", "grpc"]
Measure = Literal[
    "throughput / yardstick", "p50 / yardstick", "throughput / limit", "p99 / p50", "server CPU us / request"
]

PROTOCOLS: tuple[Protocol, ...] = ("http", "grpc")
CONCURRENCY: tuple[int, ...] = (1, 8, 32)

YARDSTICK = "identity_fp32_16"
YARDSTICK_LARGE = "identity_602k"


@dataclass(frozen=True)
class Tensor:
    """One input as a client sends it: the batch dimension is 1 and not part of `dims`."""

    name: str
    datatype: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One model on one side.

    `stretch` lengthens its measurements: with batches of 32 that take a second, a three-second window would count two
    of them or four. `vocabulary` bounds random token ids; without it the load generator makes its own random data.
    """

    side: Side
    model: str
    inputs: tuple[Tensor, ...]
    yardstick: str | None = None
    stretch: int = 1
    vocabulary: int | None = None
    streaming: bool = False
    sequence_length: int = 0  # of a model that takes sequences: about how many requests each has
    shared_output_bytes: int = 0  # tensors travel through shared memory, and each output is as long as this at most

    @property
    def slow(self) -> bool:
        """Whether so few batches fit into a measurement that counting answers in a window is too coarse."""
        return self.stretch > 1


_ROW = ("FP32", (16,))
_PICTURE = ("FP32", (3, 224, 224))

CASES: tuple[Case, ...] = (
    Case("atoll", "simple", (Tensor("INPUT0", "INT32", (16,)), Tensor("INPUT1", "INT32", (16,))), YARDSTICK),
    Case("atoll", "mlp", (Tensor("INPUT", "FP32", (128,)),), YARDSTICK),
    Case("atoll", "identity_602k", (Tensor("INPUT0", *_PICTURE),), YARDSTICK_LARGE),
    Case("atoll", "resnet18", (Tensor("INPUT", *_PICTURE),), stretch=5),
    Case("atoll", "bert", (Tensor("input_ids", "INT64", (64,)),), stretch=2, vocabulary=8192),
)

YARDSTICKS: dict[str, Case] = {
    YARDSTICK: Case("rival", YARDSTICK, (Tensor("INPUT0", *_ROW),)),
    YARDSTICK_LARGE: Case("rival", YARDSTICK_LARGE, (Tensor("INPUT0", *_PICTURE),)),
}


@dataclass(frozen=True)
class Target:
    """A bound on one measure of one case: `at_least` or `at_most`, never both."""

    model: str
    protocol: Protocol
    concurrency: int
    measure: Measure
    at_least: float | None = None
    at_most: float | None = None

    def met_by(self, value: float) -> bool:
        if self.at_least is not None:
            return value >= self.at_least
        if self.at_most is not None:
            return value <= self.at_most
        raise ValueError(f"the target for {self.model} bounds nothing. This is a bug in plan.py.")

    @property
    def bound(self) -> str:
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"


def _targets() -> tuple[Target, ...]:
    found = [
        Target("simple", "http", 8, "throughput / yardstick", at_least=1.5),
        Target("simple", "http", 32, "throughput / yardstick", at_least=1.7),
        Target("simple", "grpc", 8, "throughput / yardstick", at_least=2.0),
        Target("simple", "grpc", 32, "throughput / yardstick", at_least=2.2),
        Target("mlp", "http", 32, "throughput / yardstick", at_least=1.5),
        Target("mlp", "grpc", 32, "throughput / yardstick", at_least=1.8),
    ]
    for protocol in PROTOCOLS:
        found.append(Target("simple", protocol, 1, "p50 / yardstick", at_most=0.6))
        found.append(Target("simple", protocol, 32, "server CPU us / request", at_most=44))
        found += [Target("identity_602k", protocol, n, "throughput / yardstick", at_least=1.5) for n in CONCURRENCY]
        for model, share in (("resnet18", 0.93), ("bert", 0.9)):
            for concurrency in (8, 32):
                found.append(Target(model, protocol, concurrency, "throughput / limit", at_least=share))
                found.append(Target(model, protocol, concurrency, "p99 / p50", at_most=3))
    models = [case.model for case in CASES]
    return tuple(sorted(found, key=lambda target: (models.index(target.model), target.measure, target.protocol)))


TARGETS: tuple[Target, ...] = _targets()
