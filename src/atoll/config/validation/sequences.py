"""What is wrong with a configuration's sequence batching: its strategy and its control inputs; its states are in
states.py.
"""

from collections.abc import Iterator

from atoll.config.model_config import ModelConfig, ModelSequenceBatching
from atoll.config.problems import Problem
from atoll.config.sequence_backlog import backlog_problems
from atoll.config.validation.dynamic_batching import preferred_size_problems
from atoll.config.validation.states import state_problems
from atoll.tensor import DataType


def sequence_problems(config: ModelConfig, batching: ModelSequenceBatching, name: str) -> Iterator[Problem]:
    """All of it."""
    path = "sequence_batching"
    if batching.direct is not None and batching.oldest is not None:
        message = f"sequence batching specifies both strategies for {name}"
        yield Problem(path, message, "direct and oldest", "at most one of them", "Remove one.")
    if batching.direct is not None and not 0.0 <= batching.direct.minimum_slot_utilization <= 1.0:
        message = f"sequence batching minimum slot utilization must be in range (0.0, 1.0] for {name}"
        found = str(batching.direct.minimum_slot_utilization)
        yield Problem(f"{path}.direct.minimum_slot_utilization", message, found, "a share up to 1", "")
    if batching.oldest is not None:
        candidates = batching.oldest.max_candidate_sequences
        if candidates < 0:
            message = f"sequence batching max candidate sequences must not be negative for {name}"
            expected = "how many sequences an instance may have at a time; 0: no limit of the model's own"
            yield Problem(f"{path}.oldest.max_candidate_sequences", message, str(candidates), expected, "")
        label = "sequence batching preferred batch size"
        sizes = batching.oldest.preferred_batch_size
        yield from preferred_size_problems(
            f"{path}.oldest.preferred_batch_size", label, sizes, config.max_batch_size, name
        )
    yield from _controls(batching, f"{path}.control_input", name)
    yield from state_problems(config, batching, name)
    yield from backlog_problems(config, name)


_Control = ModelSequenceBatching.Control
_CORRELATION_ID_TYPES = (DataType.UINT64, DataType.INT64, DataType.UINT32, DataType.INT32, DataType.BYTES)


def _controls(batching: ModelSequenceBatching, path: str, name: str) -> Iterator[Problem]:
    seen: dict[_Control.Kind, str] = {}
    for index, one in enumerate(batching.control_input):
        if not one.name:
            message = f"sequence batching control tensor must have a name for {name}"
            yield Problem(f"{path}[{index}].name", message, "no name", "the name of an input of the model", "Add it.")
        for position, control in enumerate(one.control):
            here = f"{path}[{index}].control[{position}]"
            if control.kind in seen:
                message = f"sequence batching specifies multiple {control.kind.name} tensors for {name}"
                found = f"the kind of {seen[control.kind]} again"
                yield Problem(f"{here}.kind", message, found, "one for each kind", "Remove one.")
            seen.setdefault(control.kind, here)
            yield from _control(control, here, name)


def _control(control: _Control, path: str, name: str) -> Iterator[Problem]:
    pairs = {
        "int32_false_true": len(control.int32_false_true),
        "fp32_false_true": len(control.fp32_false_true),
        "bool_false_true": len(control.bool_false_true),
    }
    given = [one for one, length in pairs.items() if length]
    kind, all_three = control.kind.name, "'int32_false_true', 'fp32_false_true'"
    if control.kind is _Control.Kind.CONTROL_SEQUENCE_CORRID:
        if given:
            message = (
                f"sequence batching must not specify either {all_three} or 'bool_false_true' for {kind} for {name}"
            )
            yield Problem(path, message, " and ".join(given), "data_type instead", "Remove it.")
        if control.data_type not in _CORRELATION_ID_TYPES:
            message = (
                f"unexpected data type for control {kind} for {name}. Allowed data types are TYPE_UINT64, TYPE_INT64, "
                "TYPE_UINT32, TYPE_INT32 and TYPE_STRING"
            )
            yield Problem(f"{path}.data_type", message, control.data_type.config_name, "one of these", "")
    elif not given:
        message = f"sequence batching must specify either {all_three} or 'bool_false_true' for {kind} for {name}"
        yield Problem(path, message, "none of them", "one", "Add such as fp32_false_true: [0, 1].")
    elif len(given) > 1:
        message = (
            f"sequence batching specifies more than one from {all_three} and 'bool_false_true' for {kind} for {name}"
        )
        yield Problem(path, message, " and ".join(given), "one of them", "Keep the one of the input's type.")
    elif pairs[given[0]] != 2:
        message = f"sequence batching control '{given[0]}' must have exactly 2 entries for {kind} for {name}"
        expected = "2: the value for false, then the value for true"
        yield Problem(f"{path}.{given[0]}", message, f"{pairs[given[0]]}", expected, "")
