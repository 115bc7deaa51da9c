"""What clients do with regions: register them, ask for them, give them up."""

from collections.abc import Iterator

from tests.conformance.shared_memory.steps import (
    CUDA,
    FILE_BYTES,
    LEFT_OUT,
    SYSTEM,
    Http,
    Step,
    call,
    register,
    status,
    unregister,
)


def scenarios() -> Iterator[tuple[str, list[Step]]]:
    yield "nothing registered", [status(), status("r"), status("r/s"), unregister("r"), unregister(), *_calls()]
    yield (
        "status documents",
        [
            register(),
            register("s", "@two", 100, 4096),
            status(),
            status("s"),
            *_calls(),
            call("SystemSharedMemoryStatus", name="s"),
            unregister("r"),
            status("r"),
            status(),
            unregister(),
            status(),
        ],
    )
    yield (
        "over gRPC",
        [
            call("SystemSharedMemoryRegister", name="r", key="@one", offset=0, byte_size=64),
            call("SystemSharedMemoryRegister", name="r", key="@one", offset=0, byte_size=64),
            call("SystemSharedMemoryRegister", name="s", key="@two", offset=4096, byte_size=64),
            call("SystemSharedMemoryStatus"),
            call("SystemSharedMemoryStatus", name="s"),
            status(),
            call("SystemSharedMemoryUnregister", name="s"),
            call("SystemSharedMemoryUnregister", name="s"),
            call("SystemSharedMemoryStatus", name="s"),
            call("SystemSharedMemoryUnregister"),
            call("SystemSharedMemoryStatus"),
            call("SystemSharedMemoryRegister", name="", key="@two", offset=0, byte_size=64),
            call("SystemSharedMemoryStatus"),
        ],
    )
    for name, fields in {
        "an empty key": {"key": "", "byte_size": 64},
        "no such file": {"key": "/atoll_no_such_file", "byte_size": 64},
        "no bytes": {"key": "@one"},
        "one byte too many": {"key": "@one", "byte_size": FILE_BYTES + 1},
        "an overflow": {"key": "@one", "offset": 2**64 - 4096, "byte_size": 4097},
    }.items():
        yield f"register over gRPC: {name}", [call("SystemSharedMemoryRegister", name="r", **fields), status()]
    yield "registered twice", [register(), register(), register(key="@two"), register(byte_size=8), status()]
    yield "overlapping", [register(), register("s"), register("t", offset=128), status()]
    for name, wrong in {
        "no such file": register(key="/atoll_no_such_file"),
        "an empty key": register(key=""),
        "only a slash": register(key="/"),
        "a folder above": register(key="/.."),
        "a path": register(key="/../etc/passwd"),
        "a path down": register(key="/a/b"),
        "a long key": register(key="/" + "x" * 300),
        "no key": register(key=LEFT_OUT),
        "a key of another type": register(key=7),
        "no size": register(byte_size=LEFT_OUT),
        "a size of another type": register(byte_size="64"),
        "a negative size": register(byte_size=-1),
        "no offset": register(offset=LEFT_OUT),
        "an offset of another type": register(offset="0"),
        "a negative offset": register(offset=-1),
        "no bytes": register(byte_size=0),
        "all bytes": register(byte_size=FILE_BYTES),
        "one byte too many": register(byte_size=FILE_BYTES + 1),
        "an odd offset": register(offset=3, byte_size=16),
        "an offset at the end": register(offset=FILE_BYTES),
        "an offset beyond": register(offset=FILE_BYTES + 4096),
        "an offset too far": register(offset=FILE_BYTES - 255),
        "an overflow": register(offset=2**63, byte_size=2**63),
        "a size beyond 64 bits": register(byte_size=2**64),
        "unknown members": register(more=7),
        "a name with dots": register(".."),
        "an escaped name": register("a%2Fb"),
        "no document": Http("POST", f"{SYSTEM}/region/r/register", b"{"),
        "an empty body": Http("POST", f"{SYSTEM}/region/r/register", b""),
        "an array": Http("POST", f"{SYSTEM}/region/r/register", []),
        "by GET": Http("GET", f"{SYSTEM}/region/r/register"),
        "no name": Http("POST", f"{SYSTEM}/register", {"key": "@one", "byte_size": 64}),
        "status by POST": Http("POST", f"{SYSTEM}/status", {}),
        "unregister by GET": Http("GET", f"{SYSTEM}/unregister"),
        "another action": Http("POST", f"{SYSTEM}/region/r/destroy", {}),
        "another kind": Http("GET", "/v2/sharedmemory/status"),
    }.items():
        yield f"register: {name}", [wrong, status()]
    handle = {"b64": "AAAA"}
    yield (
        "CUDA",
        [
            *(status("", CUDA), status("c", CUDA), unregister("", CUDA), unregister("c", CUDA)),
            *(
                Http("POST", f"{CUDA}/region/c/register", document)
                for document in (
                    {"raw_handle": handle, "device_id": 0, "byte_size": 64},
                    {"raw_handle": {"b64": "A" * 88}, "device_id": 0, "byte_size": 64},
                    {"raw_handle": {"b64": "A" * 86 + "=="}, "device_id": 0, "byte_size": 64},
                    {"raw_handle": {"b64": "A" * 86 + "=="}, "device_id": 0, "byte_size": 0},
                    {"raw_handle": {"b64": "*"}, "device_id": 0, "byte_size": 64},
                    {"raw_handle": {"b64": 7}, "device_id": 0, "byte_size": 64},
                    {"raw_handle": {}, "device_id": 0, "byte_size": 64},
                    {"raw_handle": "AAAA", "device_id": 0, "byte_size": 64},
                    {"device_id": 0, "byte_size": 64},
                    {"raw_handle": handle, "byte_size": 64},
                    {"raw_handle": handle, "device_id": 0},
                    {"raw_handle": handle, "device_id": "0", "byte_size": 64},
                    {"raw_handle": handle, "device_id": -1, "byte_size": 64},
                )
            ),
            Http("POST", f"{CUDA}/register", {}),
            Http("POST", f"{CUDA}/region/c/register", []),
            call("CudaSharedMemoryRegister", name="c", raw_handle=bytes(64), device_id=0, byte_size=64),
            call("CudaSharedMemoryRegister", name="c", raw_handle=b"", device_id=99, byte_size=64),
            call("CudaSharedMemoryStatus"),
            call("CudaSharedMemoryStatus", name="c"),
            call("CudaSharedMemoryUnregister"),
            call("CudaSharedMemoryUnregister", name="c"),
        ],
    )
    yield (
        "one kind's endpoints with the other's regions",
        [
            register(),
            status("r", CUDA),
            status("", CUDA),
            unregister("r", CUDA),
            status(),
            register(),
            unregister("", CUDA),
            status(),
            call("CudaSharedMemoryUnregister", name="r"),
            status(),
        ],
    )


def _calls() -> list[Step]:
    return [call("SystemSharedMemoryStatus"), call("SystemSharedMemoryStatus", name="r")]
