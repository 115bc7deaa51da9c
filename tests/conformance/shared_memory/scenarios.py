"""All that clients do with shared memory, by scenario."""

from tests.conformance.shared_memory import region_scenarios, tensor_scenarios
from tests.conformance.shared_memory.steps import Step


def scenarios() -> dict[str, list[Step]]:
    """By name."""
    return {**dict(region_scenarios.scenarios()), **dict(tensor_scenarios.scenarios())}
