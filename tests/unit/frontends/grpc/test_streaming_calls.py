"""Streaming calls on either transport, driven by grpcio."""

import asyncio
import threading

import grpc
import pytest

from atoll.frontends.grpc.transport import Compression, GrpcError, GrpcStatus

WAIT_S = 20


async def echo(call):
    async for message in call:
        await call.send(message)


def test_messages_come_back_in_order(serve):
    with serve({}, {"/t/echo": echo}).channel() as channel:
        sent = [b"%d" % k * k for k in range(300)]
        assert list(channel.stream_stream("/t/echo")(iter(sent), timeout=WAIT_S)) == sent


def test_messages_larger_than_every_window_pass(serve):
    with serve({}, {"/t/echo": echo}).channel() as channel:
        sent = [bytes([k]) * (9 << 20) for k in range(4)]
        assert list(channel.stream_stream("/t/echo")(iter(sent), timeout=WAIT_S)) == sent


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages_of_mixed_sizes_keep_their_order(serve, algorithm):
    sent = [b"%d" % k * (400_000 if k % 5 == 0 else k) for k in range(40)]
    with serve({}, {"/t/echo": echo}).channel() as channel:
        answers = channel.stream_stream("/t/echo")(iter(sent), timeout=WAIT_S, compression=algorithm)
        assert list(answers) == sent


def test_compressed_responses_keep_their_order_and_the_status_waits_for_them(serve):
    sent = [b"%d" % k * (400_000 if k % 3 == 0 else k) for k in range(12)]

    async def handler(call):
        call.compression = Compression.LOW
        for message in sent:
            call.write(message)
        raise GrpcError(GrpcStatus.ABORTED, "enough")

    with serve({}, {"/t/many": handler}).channel() as channel:
        answers = channel.stream_stream("/t/many")(iter([]), timeout=WAIT_S)
        got = []
        with pytest.raises(grpc.RpcError) as refused:
            got.extend(answers)  # keeps what came before the error
    assert got == sent
    assert refused.value.code() is grpc.StatusCode.ABORTED


def test_one_request_can_have_no_answer_or_many(serve):
    async def handler(call):
        async for message in call:
            for k in range(int(message)):
                await call.send([b"%d/" % k, message])

    with serve({}, {"/t/many": handler}).channel() as channel:
        ask = channel.stream_stream("/t/many")
        assert list(ask(iter([b"0"]), timeout=WAIT_S)) == []
        assert list(ask(iter([]), timeout=WAIT_S)) == []
        assert list(ask(iter([b"3", b"0", b"1"]), timeout=WAIT_S)) == [b"0/3", b"1/3", b"2/3", b"0/1"]


def test_a_callback_of_the_loop_can_write_without_a_task(serve):
    async def handler(call):
        loop = asyncio.get_running_loop()
        over = loop.create_future()

        def step(left):
            call.write(b"%d" % left)
            loop.call_soon(step, left - 1) if left else over.set_result(None)

        loop.call_soon(step, 50)
        await over

    with serve({}, {"/t/callback": handler}).channel() as channel:
        answers = channel.stream_stream("/t/callback")(iter([]), timeout=WAIT_S)
        assert list(answers) == [b"%d" % k for k in range(50, -1, -1)]


def test_a_status_comes_after_what_was_written(serve):
    async def handler(call):
        call.set_initial_metadata([("first", "1")])
        call.set_trailing_metadata([("last", "2")])
        call.write(b"one")
        raise GrpcError(GrpcStatus.OUT_OF_RANGE, "no two")

    with serve({}, {"/t/status": handler}).channel() as channel:
        answers = channel.stream_stream("/t/status")(iter([b"x"]), timeout=WAIT_S)
        assert next(answers) == b"one"
        with pytest.raises(grpc.RpcError) as refused:
            next(answers)
    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.OUT_OF_RANGE, "no two")
    assert ("first", "1") in {tuple(item) for item in answers.initial_metadata()}
    assert ("last", "2") in {tuple(item) for item in answers.trailing_metadata()}


def test_initial_metadata_after_the_first_response_is_an_error(serve):
    problems = []

    async def handler(call):
        await call.send(b"one")
        await asyncio.sleep(0.01)
        try:
            call.set_initial_metadata([("late", "1")])
        except ValueError as problem:
            problems.append(str(problem))

    with serve({}, {"/t/late": handler}).channel() as channel:
        assert list(channel.stream_stream("/t/late")(iter([]), timeout=WAIT_S)) == [b"one"]
    assert problems == ["the initial metadata has already been sent"]


def test_a_handler_that_returns_early_ends_the_call_while_the_client_still_sends(serve):
    async def handler(call):
        async for message in call:
            await call.send(message)
            return

    released = threading.Event()

    def requests():
        yield b"first"
        released.wait(WAIT_S)
        yield b"second"

    with serve({}, {"/t/first": handler}).channel() as channel:
        answers = channel.stream_stream("/t/first")(requests(), timeout=WAIT_S)
        assert list(answers) == [b"first"]
        released.set()


def test_a_slow_reader_holds_the_handler_back(serve):
    sent = []

    async def handler(call):
        for _ in range(400):
            await call.send(bytes(100_000))
            sent.append(call.buffered_bytes)

    serving = serve({}, {"/t/flood": handler})
    with serving.channel(**{"grpc.http2.lookahead_bytes": 65536, "grpc.http2.bdp_probe": 0}) as channel:
        answers = channel.stream_stream("/t/flood")(iter([]), timeout=WAIT_S)
        next(answers)
        count = -1
        while count != len(sent):  # until the handler stands still
            count = len(sent)
            threading.Event().wait(0.1)
        assert count < 400
        assert max(sent) < 2_000_000
        assert sum(1 for _ in answers) == 399


def test_buffered_bytes_tell_what_a_writer_without_backpressure_has_piled_up(serve):
    piled, go = [], threading.Event()

    async def handler(call):
        for _ in range(40):
            call.write(bytes(1_000_000))
        piled.append(call.buffered_bytes)
        go.set()

    with serve({}, {"/t/pile": handler}).channel() as channel:
        answers = channel.stream_stream("/t/pile")(iter([]), timeout=WAIT_S)
        assert go.wait(WAIT_S)
        assert piled[0] >= 40_000_000
        assert sum(len(message) for message in answers) == 40_000_000


@pytest.mark.parametrize("where", ["reading", "sending", "elsewhere"])
def test_a_client_that_cancels_cancels_the_handler_wherever_it_waits(serve, where):
    begun, told, listened = threading.Event(), threading.Event(), threading.Event()

    async def handler(call):
        call.on_cancel(listened.set)
        begun.set()
        try:
            if where == "reading":
                async for _ in call:
                    pass
                await asyncio.Event().wait()  # grpc.aio tells the end of the messages before it tells the cancellation
            elif where == "sending":
                while True:
                    await call.send(bytes(1 << 20))
            else:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert call.cancelled
            told.set()
            raise

    released = threading.Event()

    def requests():
        yield b"x"
        released.wait(WAIT_S)

    serving = serve({}, {"/t/wait": handler})
    with serving.channel() as channel:
        answers = channel.stream_stream("/t/wait")(requests())
        assert begun.wait(WAIT_S)
        answers.cancel()
        assert listened.wait(WAIT_S)
        assert told.wait(WAIT_S)
        released.set()
    serving.eventually(lambda: serving.transport.calls_in_flight == 0)


def test_a_deadline_ends_a_stream(serve):
    told = threading.Event()

    async def handler(call):
        call.write(b"one")
        try:
            await asyncio.Event().wait()
        finally:
            told.set()

    with serve({}, {"/t/wait": handler}).channel() as channel:
        answers = channel.stream_stream("/t/wait")(iter([b"x"]), timeout=0.2)
        assert next(answers) == b"one"
        with pytest.raises(grpc.RpcError) as refused:
            next(answers)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert told.wait(WAIT_S)


def test_writing_to_a_call_that_is_over_goes_nowhere(serve):
    calls, told = [], threading.Event()

    async def handler(call):
        calls.append(call)
        call.on_cancel(told.set)
        await asyncio.Event().wait()

    serving = serve({}, {"/t/gone": handler, "/t/echo": echo})
    with serving.channel() as channel:
        answers = channel.stream_stream("/t/gone")(iter(threading.Event().wait, 1))
        serving.eventually(lambda: bool(calls))
        answers.cancel()
        assert told.wait(WAIT_S)
        serving.ask(lambda: calls[0].write(b"lost"))
        assert list(channel.stream_stream("/t/echo")(iter([b"on"]), timeout=WAIT_S)) == [b"on"]


def test_reading_a_cancelled_call_is_cancelled_and_does_not_end(serve_nghttp2):
    begun, how = threading.Event(), []

    async def handler(call):
        begun.set()
        try:
            async for _ in call:
                pass
            how.append("ended")
        except asyncio.CancelledError:
            how.append("cancelled")
            raise

    serving = serve_nghttp2({}, {"/t/read": handler})
    with serving.channel() as channel:
        answers = channel.stream_stream("/t/read")(iter(threading.Event().wait, 1))
        assert begun.wait(WAIT_S)
        answers.cancel()
        serving.eventually(lambda: bool(how))
    assert how == ["cancelled"]
