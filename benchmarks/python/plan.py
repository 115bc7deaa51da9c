"""Which models are measured on which servers, at how many clients, and the ratios to reach: data only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.plan import Case, Protocol, Tensor

ServerName = Literal["process", "thread", "rival"]
"""Atoll with its models in processes of their own, Atoll with them in its own threads, the real Triton."""

SERVERS: tuple[ServerName, ...] = ("process", "thread", "rival")
TITLES: dict[ServerName, str] = {"process": "Atoll", "thread": "Atoll, in threads", "rival": "real Triton"}
PARAMETERS: dict[ServerName, dict[str, str]] = {"process": {}, "thread": {"isolation": "thread"}, "rival": {}}


@dataclass(frozen=True)
class Load:
    """A model and how it is asked. `stretch` lengthens its measurements, as many requests do not fit into them."""

    title: str
    model: str
    elements: int
    protocols: tuple[Protocol, ...] = ("http", "grpc")
    clients: tuple[int, ...] = (1, 8)
    calls: tuple[str, ...] = ()
    streaming: bool = False
    stretch: int = 1

    @property
    def models(self) -> tuple[str, ...]:
        """The model and those that it calls."""
        return (self.model, *self.calls)

    def case(self) -> Case:
        """What the load generator needs to know."""
        tensor = Tensor("INPUT0", "FP32", (self.elements,))
        return Case("atoll", self.model, (tensor,), streaming=self.streaming)


LOADS: tuple[Load, ...] = (
    Load("identity FP32[16]", "python_identity", 16, clients=(1, 8, 32)),
    Load("identity 1 MB", "python_identity_1mb", 1 << 18),
    Load("identity 16 MB", "python_identity_16mb", 1 << 22, clients=(1, 4), stretch=2),
    Load("two calls", "python_chain", 16, calls=("python_scale", "python_shift")),
    Load("100 responses", "python_hundred", 16, protocols=("grpc",), streaming=True),
)


@dataclass(frozen=True)
class Target:
    """A bound on Atoll's (in processes) figure over the real Triton's."""

    load: str
    protocol: Protocol
    clients: int
    measure: Literal["throughput", "p50"]
    bound: float

    def met_by(self, ratio: float) -> bool:
        return ratio <= self.bound if self.measure == "p50" else ratio >= self.bound

    @property
    def words(self) -> str:
        return f"{'<=' if self.measure == 'p50' else '>='} {self.bound:g}"


def targets(loads: Sequence[Load] = LOADS) -> list[Target]:
    """Those that these loads have."""
    found = []
    for load in loads:
        for protocol in load.protocols:
            for clients in load.clients:
                if load.model != "python_identity":
                    bound = 1.3 if "identity" in load.model else 1.5
                    found.append(Target(load.title, protocol, clients, "throughput", bound))
                elif clients == 1:
                    found.append(Target(load.title, protocol, clients, "p50", 0.8))
                else:
                    found.append(
                        Target(load.title, protocol, clients, "throughput", 1.5 if protocol == "grpc" else 1.3)
                    )
    return found
