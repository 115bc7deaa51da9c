"""One child as its supervisor sees it: what it prints, whether it answers, and how it ended."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress

from atoll.devices.proc_stat import read_stat, read_thread_states
from atoll.isolation import child_control, endings
from atoll.isolation.output import OutputLines
from atoll.isolation.process import Child
from atoll.isolation.silence import Activity, Silence, Verdict

logger = logging.getLogger(__name__)

_READ_BYTES = 256 << 10
_DRAIN_BYTES = 8 << 20  # of what a pipe still holds after the end, or what others write there
_MAX_STACK_BYTES = 1 << 20


class Watch:
    """Used on the supervisor's thread only, but for `ask_for_stack` and `ended`."""

    def __init__(self, child: Child, on_end: Callable[[str], None], stub_timeout_s: float, now: float):
        self.child = child
        self.ended = threading.Event()  # set after `on_end` has returned
        self.silence = Silence(stub_timeout_s, now) if stub_timeout_s > 0 else None
        self._on_end = on_end
        self._lines = OutputLines(now)
        self._answers = bytearray()
        self._started = False
        self._answered = True
        self._hung = False
        self._stack_asked = threading.Lock()
        self._stack_came = threading.Event()
        self._stacks_lock = threading.Lock()
        self._stacks_due = 0
        self._stack = ""

    # ---- output

    def read_output(self, now: float) -> bool:
        """Log what has been printed. False when nothing more can come."""
        try:
            data = os.read(self.child.watched.output, _READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._log(self._lines.feed(data, now))
        return bool(data)

    def _log(self, lines: list[str]) -> None:
        spec = self.child.spec
        for line in lines:
            known = {"model": spec.model, "version": spec.version, "instance": spec.name}
            logger.info("[%s] %s", spec.name, line, extra=known)

    # ---- answers

    def read_control(self) -> bool:
        """Take what the child's control thread has said. False when it can say no more."""
        try:
            data = self.child.watched.control.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._answers += data
        while self._answers and self._take_answer():
            pass
        return bool(data)

    def _take_answer(self) -> bool:
        kind = bytes(self._answers[:1])
        if kind == child_control.STACK:
            end = 5 + int.from_bytes(self._answers[1:5], "little")
            if end > _MAX_STACK_BYTES:  # the model writes to descriptors that are not its own
                self._answers.clear()
            if len(self._answers) < max(5, end):
                return False
            with self._stacks_lock:
                self._stacks_due = max(0, self._stacks_due - 1)
                is_last = not self._stacks_due
            if is_last:  # else it answers an earlier question, and nobody waits for it any more
                self._stack = bytes(self._answers[5:end]).decode(errors="backslashreplace")
                self._stack_came.set()
            del self._answers[:end]
            return True
        self._answered = self._answered or kind == child_control.PING
        self._started = self._started or kind == child_control.STARTED
        del self._answers[:1]
        return True

    def ask_for_stack(self, timeout_s: float) -> str | None:
        """What the child's threads are doing; None where it does not say so in time. From any other thread."""
        with self._stack_asked:
            self._stack_came.clear()
            with self._stacks_lock:
                self._stacks_due += 1
            try:
                self.child.watched.control.send(child_control.STACK)
            except OSError:
                return None
            return self._stack if self._stack_came.wait(timeout_s) else None

    # ---- time

    def tick(self, now: float) -> bool:
        """Look at the child. True, once, where it hangs."""
        self._log(self._lines.idle(now))
        if self.silence is None or self._hung:
            return False
        verdict = self.silence.tick(now, self._answered, None if self._answered else _activity(self.child.pid))
        if verdict is Verdict.BUSY:
            logger.warning(
                "instance '%s' of model '%s' has not answered for %g s, though it is working: native code keeps "
                "Python's interpreter lock; it is left alone",
                self.child.spec.name,
                self.child.spec.model,
                self.silence.timeout_s,
            )
        if self._answered:
            self._answered = False
            with suppress(OSError):
                self.child.watched.control.send(child_control.PING)
        self._hung = verdict is Verdict.HUNG
        return self._hung

    def print_stack(self) -> None:
        """Let a child that does not answer print what it was doing, if it can."""
        if self.child.alive:
            with suppress(OSError):
                os.kill(self.child.pid, child_control.STACK_SIGNAL)

    def kill_hung(self) -> None:
        """The end of a child that hangs, if the signal has not brought it back."""
        assert self.silence is not None
        if self._answered:
            self._hung = False
            return
        self.child.kill(f"did not answer for {self.silence.timeout_s:g} s and was killed")

    # ---- the end

    def end(self, code: int, now: float) -> None:
        """Read what it has left, close what connected us, and say why it ended."""
        self.read_control()
        for _ in range(_DRAIN_BYTES // _READ_BYTES):
            try:
                data = os.read(self.child.watched.output, _READ_BYTES)
            except OSError:
                break
            if not data:
                break
            self._log(self._lines.feed(data, now))
        self._log(self._lines.end())
        self.child.watched.close()
        self.child.process.close()
        spec = self.child.spec
        why = endings.reason(
            code,
            killed_because=self.child.killed_because,
            last_lines=tuple(self._lines.last),
            memory_limit=spec.memory_limit,
            started=self._started,
        )
        try:
            self._on_end(why)
        except Exception:
            logger.exception("what follows the end of instance '%s' of model '%s' failed", spec.name, spec.model)
        self.ended.set()


def _activity(pid: int) -> Activity | None:
    stat = read_stat(pid)
    return Activity(stat.processor_s, read_thread_states(pid)) if stat is not None else None
