"""Which sequence batcher a model's configuration asks for."""

from collections.abc import Callable
from functools import partial

from atoll.config.model_config import ModelConfig, ModelSequenceBatching
from atoll.config.sequence_backlog import backlog_limit
from atoll.scheduling.batch_forming import BatchRules
from atoll.scheduling.queueing.queue_policy import nanoseconds
from atoll.scheduling.sequences.batcher import SequenceBatcher, SequenceRules
from atoll.scheduling.sequences.seat import CandidateSeat, SequenceSeat, SlotSeat
from atoll.tensor import DataType

MOST_CANDIDATES = 1 << 16  # of an instance, where the configuration does not limit them
DEFAULT_IDLE_US = 1_000_000  # the real server's


def sequence_batcher(config: ModelConfig) -> SequenceBatcher:
    """A new one for a complete configuration that has `sequence_batching`."""
    batching = config.sequence_batching
    assert batching is not None, "asked for only where there is one. This is a bug"
    strategy = batching.direct or batching.oldest
    delay_us = 0 if strategy is None else strategy.max_queue_delay_microseconds
    if batching.direct is not None and not batching.direct.minimum_slot_utilization:
        delay_us = 0
    return SequenceBatcher(
        SequenceRules(
            model_name=config.name,
            make_seat=_seat_maker(config, batching, nanoseconds(delay_us)),
            waits=delay_us > 0,
            idle_ns=nanoseconds(batching.max_sequence_idle_microseconds or DEFAULT_IDLE_US),
            iterative=batching.iterative_sequence,
            max_backlog=backlog_limit(config),
            id_input=_id_input(config, batching),
        )
    )


def _seat_maker(config: ModelConfig, batching: ModelSequenceBatching, delay_ns: int) -> Callable[[], SequenceSeat]:
    slots = max(config.max_batch_size, 1)
    oldest = batching.oldest
    if oldest is None:
        utilization = batching.direct.minimum_slot_utilization if batching.direct is not None else 0.0
        return partial(SlotSeat, slots, utilization, delay_ns)
    rules = BatchRules(
        max_batch_size=slots,
        preferred_sizes=frozenset(oldest.preferred_batch_size),
        max_queue_delay_ns=delay_ns,
    )
    candidates = oldest.max_candidate_sequences or MOST_CANDIDATES
    return partial(CandidateSeat, candidates, rules, preserve_ordering=oldest.preserve_ordering)


def _id_input(config: ModelConfig, batching: ModelSequenceBatching) -> str:
    for one in batching.control_input:
        for control in one.control:
            if control.kind is control.Kind.CONTROL_SEQUENCE_CORRID and control.data_type is not DataType.BYTES:
                return f"control input '{one.name}' of model '{config.name}' is {control.data_type.config_name}"
    return ""
