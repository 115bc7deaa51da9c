"""Unary calls on either transport, driven by grpcio."""

import asyncio
import threading
import time

import grpc
import pytest

from atoll.frontends.grpc.transport import PENDING, Compression, GrpcError, GrpcStatus, TransportOptions

WAIT_S = 20
ECHO = {"/t/echo": lambda call, message: message}


def answer_of(serving, path="/t/echo", message=b"", **arguments):
    with serving.channel() as channel:
        return channel.unary_unary(path)(message, timeout=WAIT_S, **arguments)


def refusal_of(serving, path, message=b"", timeout=WAIT_S, **arguments):
    with serving.channel() as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(path)(message, timeout=timeout, **arguments)
    return refused.value


def test_messages_of_every_framing_come_back_whole(serve):
    serving = serve(ECHO)
    with serving.channel() as channel:
        echo = channel.unary_unary("/t/echo")
        for size in (0, 1, 5, 16379, 16384, 65535, 65536, 70000, 5 << 20):
            message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
            assert echo(message, timeout=WAIT_S) == message


def test_a_pending_call_is_answered_later_from_the_loop(serve):
    def later(call, message):
        asyncio.get_running_loop().call_soon(call.reply, message[::-1])
        return PENDING

    assert answer_of(serve({"/t/later": later}), "/t/later", b"abc") == b"cba"


def test_a_pending_call_can_fail_later(serve):
    def later(call, message):
        asyncio.get_running_loop().call_soon(call.fail, GrpcStatus.NOT_FOUND, "no such thing")
        return PENDING

    refused = refusal_of(serve({"/t/later": later}), "/t/later")
    assert (refused.code(), refused.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")


def test_an_answer_in_parts_is_one_message(serve):
    big = bytes(1 << 20)
    parts = [b"head", memoryview(bytearray(b"middle")), b"", memoryview(big), memoryview(b"xtailx")[1:5], big]
    whole = b"".join(bytes(part) for part in parts)

    def later(call, message):
        asyncio.get_running_loop().call_soon(call.reply, parts)
        return PENDING

    serving = serve({"/t/parts": lambda call, message: parts, "/t/later": later})
    assert answer_of(serving, "/t/parts") == whole
    assert answer_of(serving, "/t/later") == whole


def test_parts_of_any_element_type_count_in_bytes(serve):
    numbers = memoryview(bytes(range(16))).cast("i")
    assert answer_of(serve({"/t/parts": lambda call, message: (numbers,)}), "/t/parts") == bytes(range(16))


def test_a_handler_may_be_a_coroutine_or_return_a_future(serve):
    async def coroutine(call, message):
        await asyncio.sleep(0)
        return message + b"!"

    def future(call, message):
        made = asyncio.get_running_loop().create_future()
        made.set_result([message, b"?"])
        return made

    serving = serve({"/t/coroutine": coroutine, "/t/future": future})
    assert answer_of(serving, "/t/coroutine", b"a") == b"a!"
    assert answer_of(serving, "/t/future", b"a") == b"a?"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_grpc_error_becomes_the_status_with_its_text(serve, asynchronous):
    def plain(call, message):
        raise GrpcError(GrpcStatus.FAILED_PRECONDITION, "préalable 100%\n再试")

    async def coroutine(call, message):
        plain(call, message)

    refused = refusal_of(serve({"/t/no": coroutine if asynchronous else plain}), "/t/no")
    assert refused.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert refused.details() == "préalable 100%\n再试"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_any_other_exception_is_unknown_and_logged(serve, caplog, asynchronous):
    def plain(call, message):
        raise LookupError("not here")

    async def coroutine(call, message):
        plain(call, message)

    serving = serve({"/t/bug": coroutine if asynchronous else plain, **ECHO})
    refused = refusal_of(serving, "/t/bug")
    assert (refused.code(), refused.details()) == (grpc.StatusCode.UNKNOWN, "Unexpected LookupError: not here")
    assert "/t/bug" in caplog.text
    assert answer_of(serving, "/t/echo", b"on") == b"on"


def test_an_unknown_method_is_unimplemented(serve):
    refused = refusal_of(serve(ECHO), "/t/other")
    assert refused.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_call_knows_its_method_peer_and_metadata(serve):
    seen = {}

    def look(call, message):
        seen.update(method=call.method, peer=call.peer, metadata=list(call.metadata))
        return b""

    sent = (("one", "1"), ("many", "a"), ("many", "b"), ("blob-bin", b"\x00\xff,"), ("empty-bin", b""))
    answer_of(serve({"/t/look": look}), "/t/look", metadata=sent)
    assert seen["method"] == "/t/look"
    assert seen["peer"].startswith("ipv4:127.0.0.1:")
    metadata = dict(seen["metadata"])
    assert "grpc-python" in metadata.pop("user-agent")
    assert [item for item in seen["metadata"] if item[0] != "user-agent"] == list(sent)


def test_metadata_goes_out_before_and_after_the_answer(serve):
    def handler(call, message):
        call.set_initial_metadata([("first", "1"), ("first-bin", b"\x01")])
        call.set_trailing_metadata([("last", "2"), ("last-bin", b"\xfe\xff")])
        return b"ok"

    with serve({"/t/metadata": handler}).channel() as channel:
        answer, call = channel.unary_unary("/t/metadata").with_call(b"", timeout=WAIT_S)
    assert answer == b"ok"
    assert {("first", "1"), ("first-bin", b"\x01")} <= {tuple(item) for item in call.initial_metadata()}
    assert {("last", "2"), ("last-bin", b"\xfe\xff")} <= {tuple(item) for item in call.trailing_metadata()}


def test_metadata_goes_out_with_an_error_too(serve):
    def handler(call, message):
        call.set_initial_metadata([("first", "1")])
        call.set_trailing_metadata([("last", "2")])
        raise GrpcError(GrpcStatus.ABORTED, "stop")

    refused = refusal_of(serve({"/t/metadata": handler}), "/t/metadata")
    assert refused.code() is grpc.StatusCode.ABORTED
    assert ("first", "1") in {tuple(item) for item in refused.initial_metadata()}
    assert ("last", "2") in {tuple(item) for item in refused.trailing_metadata()}


def test_metadata_that_cannot_be_sent_is_refused(serve):
    problems = []

    def handler(call, message):
        for items in (
            [("Upper", "x")],
            [("grpc-status", "0")],
            [("line", "a\nb")],
            [("blob-bin", "text")],
            [("a", b"b")],
        ):
            for setter in (call.set_initial_metadata, call.set_trailing_metadata):
                try:
                    setter(items)
                except ValueError as problem:
                    problems.append(str(problem))
        return b""

    answer_of(serve({"/t/metadata": handler}), "/t/metadata")
    assert len(problems) == 10
    assert "blob-bin" in problems[6]


def test_request_metadata_over_the_limit_is_refused(serve):
    refused = refusal_of(serve(ECHO, max_metadata_bytes=4096), "/t/echo", metadata=[("long", "x" * 5000)])
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "received metadata size exceeds" in refused.details()


def test_the_deadline_reaches_the_handler(serve):
    seen = []

    def handler(call, message):
        seen.append((call.deadline_ns, time.monotonic_ns()))
        return b""

    serving = serve({"/t/deadline": handler})
    with serving.channel() as channel:
        channel.unary_unary("/t/deadline")(b"", timeout=WAIT_S)
        channel.unary_unary("/t/deadline")(b"")
    (deadline, now), (no_deadline, _) = seen
    assert no_deadline is None
    assert (WAIT_S - 5) * 1e9 < deadline - now <= (WAIT_S + 1) * 1e9


def test_a_passed_deadline_cancels_a_pending_call_and_its_late_answer_goes_nowhere(serve):
    told = threading.Event()
    calls = []

    def handler(call, message):
        calls.append(call)
        call.on_cancel(told.set)
        return PENDING

    serving = serve({"/t/slow": handler, **ECHO})
    refused = refusal_of(serving, "/t/slow", timeout=0.1)
    assert refused.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert told.wait(WAIT_S)
    assert serving.ask(lambda: calls[0].cancelled)
    serving.ask(lambda: calls[0].reply(b"too late"))
    serving.ask(lambda: calls[0].fail(GrpcStatus.INTERNAL, "too late"))
    assert answer_of(serving, "/t/echo", b"on") == b"on"


def test_cancelling_tells_a_pending_call_once_and_later_listeners_at_once(serve):
    begun, told = threading.Event(), threading.Event()
    calls, count = [], []

    def handler(call, message):
        calls.append(call)
        call.on_cancel(lambda: count.append(1))
        call.on_cancel(told.set)
        begun.set()
        return PENDING

    serving = serve({"/t/slow": handler})
    with serving.channel() as channel:
        future = channel.unary_unary("/t/slow").future(b"")
        assert begun.wait(WAIT_S)
        future.cancel()
        assert told.wait(WAIT_S)
    serving.ask(lambda: calls[0].on_cancel(lambda: count.append(1)))
    assert count == [1, 1]


def test_cancelling_cancels_a_coroutine(serve):
    begun, told = threading.Event(), threading.Event()

    async def handler(call, message):
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.set()
            raise

    with serve({"/t/slow": handler}).channel() as channel:
        future = channel.unary_unary("/t/slow").future(b"")
        assert begun.wait(WAIT_S)
        future.cancel()
        assert told.wait(WAIT_S)


def test_an_answered_call_is_never_told_of_a_cancellation(serve):
    told, calls = [], []

    def handler(call, message):
        call.on_cancel(lambda: told.append(1))
        calls.append(call)
        return b"done"

    serving = serve({"/t/quick": handler})
    assert answer_of(serving, "/t/quick") == b"done"
    serving.eventually(lambda: serving.transport.calls_in_flight == 0)
    assert told == []
    assert not calls[0].cancelled


def test_a_client_that_closes_its_channel_cancels_its_calls(serve):
    begun, told = threading.Event(), threading.Event()

    def handler(call, message):
        call.on_cancel(told.set)
        begun.set()
        return PENDING

    serving = serve({"/t/slow": handler})
    channel = serving.channel()
    future = channel.unary_unary("/t/slow").future(b"")
    assert begun.wait(WAIT_S)
    assert serving.ask(lambda: serving.transport.calls_in_flight) == 1
    channel.close()
    assert future.cancelled() or future.exception(WAIT_S) is not None
    assert told.wait(WAIT_S)
    serving.eventually(lambda: serving.transport.calls_in_flight == 0)


def test_a_message_over_the_limit_is_refused_and_the_server_goes_on(serve):
    serving = serve(ECHO, max_message_bytes=100_000)
    refused = refusal_of(serving, "/t/echo", bytes(3_000_000))
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.details() in (
        "Received message larger than max (3000000 vs. 100000)",
        "SERVER: Received message larger than max (3000000 vs. 100000)",
    )
    assert len(answer_of(serving, "/t/echo", bytes(100_000))) == 100_000


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize("size", [1, 1000, 300_000, 9_000_000])
def test_a_compressed_request_arrives_as_it_was(serve, algorithm, size):
    message = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    assert answer_of(serve(ECHO), "/t/echo", message, compression=algorithm) == message


@pytest.mark.parametrize("level", list(Compression))
@pytest.mark.parametrize("size", [0, 1, 1000, 3_000_000])
def test_a_response_is_readable_at_every_level(serve, level, size):
    message = (b"0123456789abcdef" * (size // 16 + 1))[:size]

    def handler(call, request):
        call.compression = level
        return [message[:10], message[10:]]

    assert answer_of(serve({"/t/compressed": handler}), "/t/compressed") == message


def test_a_compressed_message_over_the_limit_is_refused_by_its_real_size(serve):
    serving = serve(ECHO, max_message_bytes=100_000)
    refused = refusal_of(serving, "/t/echo", bytes(3_000_000), compression=grpc.Compression.Gzip)
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_many_calls_at_once_get_each_its_own_answer(serve):
    waiting = []

    def handler(call, message):
        waiting.append((call, message))
        if len(waiting) == 200:
            for each, said in reversed(waiting):
                each.reply(said * 2)
        return PENDING

    with serve({"/t/together": handler}).channel() as channel:
        ask = channel.unary_unary("/t/together")
        futures = [ask.future(b"%d " % k, timeout=WAIT_S) for k in range(200)]
        assert [future.result() for future in futures] == [b"%d %d " % (k, k) for k in range(200)]


async def test_a_client_on_a_unix_socket_is_called_so(kind, tmp_path):
    peers = []

    def echo(call, body):
        peers.append(call.peer)
        return body

    transport = kind({"/t/echo": echo}, {}, TransportOptions())
    await transport.start(f"unix:{tmp_path}/s", 0)
    try:
        async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
            assert await channel.unary_unary("/t/echo")(b"x", timeout=20) == b"x"
    finally:
        await transport.stop()
    assert peers == ["unix:"]
