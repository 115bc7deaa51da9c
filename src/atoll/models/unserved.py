"""What a configuration may ask for and this version does not do: said when the model is loaded, never passed over."""

from atoll.config.model_config import ModelConfig
from atoll.config.problems import Problem

_REMEDY = "Remove it from the configuration, or serve this model elsewhere until it is there."


def find_unserved(config: ModelConfig, *, requests: bool = False) -> list[Problem]:
    """Problems for what would give wrong answers if it were ignored, warnings for what only changes their timing.

    `requests`: the backend's instances take requests as they are, and may answer one several times.
    """
    problems = []
    for path, present in (
        ("ensemble_scheduling", config.ensemble_scheduling is not None),
        ("sequence_batching", config.sequence_batching is not None),
        ("model_transaction_policy.decoupled", config.decoupled and not requests),
        ("batch_input", bool(config.batch_input)),
        ("batch_output", bool(config.batch_output)),
        ("input.allow_ragged_batch", any(one.allow_ragged_batch for one in config.input)),
    ):
        if present:
            problems.append(Problem(path, "not supported by this version of Atoll", path, "", _REMEDY))
    for path, present in _ignored(config):
        if present:
            problems.append(
                Problem(path, "ignored by this version of Atoll", path, "", "Answers do not change.", warning=True)
            )
    return problems


def _ignored(config: ModelConfig) -> list[tuple[str, bool]]:
    return [
    ]
