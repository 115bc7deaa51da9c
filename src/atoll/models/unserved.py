"""What a configuration may ask for and this version does not do: said when the model is loaded, never passed over."""

from collections.abc import Iterator

from atoll.config.model_config import ModelConfig
from atoll.config.problems import Problem


def find_unserved(config: ModelConfig, *, requests: bool = False) -> list[Problem]:
    """Problems for what would give wrong answers if it were ignored.

    `requests`: the backend's instances take requests as they are, and may answer one several times.
    """
    if requests:
        return list(_of_joined_batches(config))
    if not config.decoupled:
        return []
    path = "model_transaction_policy.decoupled"
    remedy = (
        "Remove it: a backend that takes arrays answers each request once. Models of the backend python may have it."
    )
    return [Problem(path, "not supported for this model's backend", path, "", remedy)]


def _of_joined_batches(config: ModelConfig) -> Iterator[Problem]:
    """What has no effect on the tensors of a model that takes requests as they are. The real server says nothing."""
    shared = "Requests of different shapes share its batches all the same."
    for path, present, remedy in (
        ("batch_input", bool(config.batch_input), ""),
        ("batch_output", bool(config.batch_output), ""),
        ("parameters['padding']", "padding" in config.parameters, shared),
    ):
        if present:
            message = "has no effect on the tensors of this model: its backend takes requests as they are, not joined"
            yield Problem(path, message, "", "", remedy, warning=True)
