"""A CUDA driver that does on the host what the Driver API reference says, and fails where a real one may do anything:
memory that is not there, work that nobody waited for, a context that is not current. Work of streams is done late, when
somebody waits: whoever forgets to finds nothing.
"""

import ctypes
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_INVALID_VALUE = 1
_OUT_OF_MEMORY = 2
_INVALID_CONTEXT = 201
_INVALID_HANDLE = 400


class Misuse(AssertionError):  # noqa: N818
    """What the reference forbids."""


@dataclass
class Stream:
    priority: int
    todo: list[Callable[[], None]] = field(default_factory=list)
    capturing: list[Callable[[], None]] | None = None

    def give(self, work: Callable[[], None]) -> None:
        (self.todo if self.capturing is None else self.capturing).append(work)

    def run(self) -> None:
        if self.capturing is not None:
            raise Misuse("waiting for a stream that is being captured")
        todo, self.todo = self.todo, []
        for work in todo:
            work()


class CudaStandIn:
    """`memory_bytes`: of the GPU. `fail`: names of functions and the status that they return."""

    def __init__(self, devices: int = 2, memory_bytes: int = 1 << 24):
        self.devices = devices
        self.free_bytes = memory_bytes
        self.fail: dict[str, int] = {}
        self.calls: list[str] = []
        self._local = threading.local()
        self.blocks: dict[int, Any] = {}  # by address: memory of the GPU
        self.pinned: dict[int, Any] = {}
        self.streams: dict[int, Stream] = {}
        self.events: dict[int, list[Stream]] = {}
        self.event_flags: list[int] = []
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.executables: dict[int, list[Callable[[], None]]] = {}
        self._next = 1000
        for name in [one for one in dir(type(self)) if re.match("cu[A-Z]", one)]:
            setattr(self, name, self._function(name))

    @property
    def current(self) -> list[int]:
        """This thread's contexts, the last one on top."""
        stack: list[int] = self._local.__dict__.setdefault("stack", [])
        return stack

    def _function(self, name: str) -> Callable[..., int]:
        method = getattr(type(self), name)

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name in self.fail:
                return self.fail[name]
            plain = [one.value if isinstance(one, ctypes._SimpleCData) else one for one in arguments]
            return method(self, *plain) or 0

        return call

    def handle(self) -> int:
        self._next += 1
        return self._next

    def there(self, address: int, size: int) -> None:
        """That so many bytes at this address are the GPU's."""
        if not any(start <= address and address + size <= start + len(one) for start, one in self.blocks.items()):
            raise Misuse(f"{size} bytes at {address} are not memory of the GPU, or have been freed")

    def left(self) -> dict[str, int]:
        """What has not been freed."""
        kinds = ("blocks", "pinned", "streams", "events", "graphs", "executables")
        return {name: len(getattr(self, name)) for name in kinds if getattr(self, name)}

    # ---- the functions, by their names

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return 0

    def cuGetErrorString(self, status: int, text: Any) -> int:  # noqa: N802
        text._obj.value = {_OUT_OF_MEMORY: b"out of memory"}.get(status, b"some error")
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        device._obj.value = ordinal
        return 0 if ordinal < self.devices else 101

    def cuDeviceGetName(self, name: Any, size: int, device: int) -> int:  # noqa: N802
        name.value = b"Stand-in"
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: int) -> int:  # noqa: N802
        value._obj.value = {75: 9, 76: 0}[attribute]
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: int) -> int:  # noqa: N802
        context._obj.value = 500 + device
        return 0

    def cuCtxPushCurrent_v2(self, context: int) -> int:  # noqa: N802
        self.current.append(context)
        return 0

    def cuCtxPopCurrent_v2(self, context: Any) -> int:  # noqa: N802
        if not self.current:
            return _INVALID_CONTEXT
        self.current.pop()
        return 0

    def cuMemAlloc_v2(self, pointer: Any, size: int) -> int:  # noqa: N802
        self._demand_context()
        if size == 0:
            return _INVALID_VALUE
        if size > self.free_bytes:
            return _OUT_OF_MEMORY
        self.free_bytes -= size
        block = ctypes.create_string_buffer(b"\xee" * size, size)
        address = ctypes.addressof(block)
        self.blocks[address] = block
        pointer._obj.value = address
        return 0

    def cuMemFree_v2(self, pointer: int) -> int:  # noqa: N802
        self._demand_context()
        for stream in self.streams.values():
            stream.run()  # as the driver waits
        if pointer not in self.blocks:
            raise Misuse("freeing what is not memory of the GPU")
        self.free_bytes += len(self.blocks.pop(pointer))
        return 0

    def cuMemHostAlloc(self, pointer: Any, size: int, flags: int) -> int:  # noqa: N802
        self._demand_context()
        block = ctypes.create_string_buffer(b"\xdd" * size, size)
        self.pinned[ctypes.addressof(block)] = block
        pointer._obj.value = ctypes.addressof(block)
        return 0

    def cuMemFreeHost(self, pointer: int) -> int:  # noqa: N802
        self._demand_context()
        del self.pinned[pointer]
        return 0

    def cuIpcOpenMemHandle_v2(self) -> int:  # noqa: N802
        raise Misuse("not part of this")

    cuIpcCloseMemHandle = cuMemGetAddressRange_v2 = cuStreamCreate = cuMemcpyDtoH_v2 = cuIpcOpenMemHandle_v2  # noqa: N815

    def cuCtxGetStreamPriorityRange(self, lowest: Any, highest: Any) -> int:  # noqa: N802
        lowest._obj.value, highest._obj.value = 0, -5
        return 0

    def cuStreamCreateWithPriority(self, stream: Any, flags: int, priority: int) -> int:  # noqa: N802
        self._demand_context()
        stream._obj.value = self.handle()
        self.streams[stream._obj.value] = Stream(priority)
        return 0

    def cuStreamSynchronize(self, stream: int) -> int:  # noqa: N802
        self.streams[stream].run()
        return 0

    def cuStreamDestroy_v2(self, stream: int) -> int:  # noqa: N802
        if self.streams.pop(stream).todo:
            raise Misuse("the stream had work that nobody waited for")
        return 0

    def cuEventCreate(self, event: Any, flags: int) -> int:  # noqa: N802
        event._obj.value = self.handle()
        self.events[event._obj.value] = []
        self.event_flags.append(flags)
        return 0

    def cuEventRecord(self, event: int, stream: int) -> int:  # noqa: N802
        self.events[event] = [self.streams[stream]]
        return 0

    def cuEventSynchronize(self, event: int) -> int:  # noqa: N802
        for stream in self.events[event]:
            stream.run()
        return 0

    def cuEventDestroy_v2(self, event: int) -> int:  # noqa: N802
        del self.events[event]
        return 0

    def cuMemcpyHtoDAsync_v2(self, to: int, source: int, size: int, stream: int) -> int:  # noqa: N802
        return self._copy(to, source, size, stream, to)

    def cuMemcpyDtoHAsync_v2(self, to: int, source: int, size: int, stream: int) -> int:  # noqa: N802
        return self._copy(to, source, size, stream, source)

    def _copy(self, to: int, source: int, size: int, stream: int, on_gpu: int) -> int:
        self._demand_context()
        self.there(on_gpu, size)
        if stream not in self.streams:
            return _INVALID_HANDLE

        def work() -> None:
            self.there(on_gpu, size)
            ctypes.memmove(to, source, size)

        self.streams[stream].give(work)
        return 0

    def cuStreamBeginCapture_v2(self, stream: int, mode: int) -> int:  # noqa: N802
        if self.streams[stream].todo:
            raise Misuse("capturing while work is under way hides which of it was captured")
        self.streams[stream].capturing = []
        return 0

    def cuStreamEndCapture(self, stream: int, graph: Any) -> int:  # noqa: N802
        captured, self.streams[stream].capturing = self.streams[stream].capturing, None
        assert captured is not None
        graph._obj.value = self.handle()
        self.graphs[graph._obj.value] = captured
        return 0

    def cuGraphInstantiateWithFlags(self, executable: Any, graph: int, flags: int) -> int:  # noqa: N802
        executable._obj.value = self.handle()
        self.executables[executable._obj.value] = list(self.graphs[graph])
        return 0

    def cuGraphLaunch(self, executable: int, stream: int) -> int:  # noqa: N802
        for work in self.executables[executable]:
            self.streams[stream].give(work)
        return 0

    def cuGraphExecDestroy(self, executable: int) -> int:  # noqa: N802
        del self.executables[executable]
        return 0

    def cuGraphDestroy(self, graph: int) -> int:  # noqa: N802
        del self.graphs[graph]
        return 0

    def _demand_context(self) -> None:
        if not self.current:
            raise Misuse("no context is current on this thread")
