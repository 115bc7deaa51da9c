"""How long the steps of one request took in all: what an ensemble has in the place of an execution's times."""

from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import InferenceRequest, Timeline


class StepTimes:
    """Of the steps that have been executed. In nanoseconds."""

    __slots__ = ("infer_ns", "input_ns", "output_ns")

    def __init__(self) -> None:
        self.input_ns = 0
        self.infer_ns = 0
        self.output_ns = 0

    def add(self, stamps: Timeline) -> None:
        """A step has ended. One that has answered before its execution was over may have no end of that yet, or one
        that is after its own.
        """
        ended, executed = stamps.compute_end, stamps.compute_output_start
        if not ended or not executed:
            return
        joined, started = stamps.compute_input_end, stamps.compute_start
        if joined > started:
            self.input_ns += joined - started
        if executed > joined:
            self.infer_ns += executed - joined
        if ended > executed:
            self.output_ns += ended - executed

    def stamp(self, stamps: Timeline, now_ns: int) -> None:
        """The ensemble's own timeline, which says how long each kind of work took, not when: steps run side by side."""
        stamps.compute_input_end = stamps.compute_start + self.input_ns
        stamps.compute_output_start = stamps.compute_input_end + self.infer_ns
        stamps.compute_end = stamps.compute_output_start + self.output_ns
        stamps.request_end = now_ns

    def record(self, statistics: StatisticsRecorder, request: InferenceRequest) -> None:
        """The request has succeeded."""
        statistics.record_steps(request, self.input_ns, self.infer_ns, self.output_ns)
