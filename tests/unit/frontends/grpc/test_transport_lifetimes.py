"""Starting, TLS, draining and stopping on either transport."""

import asyncio
import socket
import threading

import grpc
import pytest

from atoll.errors import MissingExtraError
from atoll.frontends.grpc.choose import choose_transport
from atoll.frontends.grpc.transport import PENDING, TransportOptions

WAIT_S = 20
ECHO = {"/t/echo": lambda call, message: message}


def test_a_taken_port_is_an_oserror(kind):
    with socket.create_server(("127.0.0.1", 0)) as taken:

        async def start():
            transport = kind(ECHO, {}, TransportOptions())
            with pytest.raises(OSError, match=str(taken.getsockname()[1])):
                await transport.start("127.0.0.1", taken.getsockname()[1])

        asyncio.run(start())


def test_two_transports_share_a_port_only_if_both_say_so(kind):
    async def start():
        first, second = (kind(ECHO, {}, TransportOptions(reuse_port=True)) for _ in range(2))
        port = await first.start("127.0.0.1", 0)
        assert await second.start("127.0.0.1", port) == port
        await first.stop()
        await second.stop()
        lonely = kind(ECHO, {}, TransportOptions())
        port = await lonely.start("127.0.0.1", 0)
        with pytest.raises(OSError, match=str(port)):
            await kind(ECHO, {}, TransportOptions()).start("127.0.0.1", port)
        await lonely.stop()

    asyncio.run(start())


def test_a_transport_that_never_started_can_be_stopped(kind):
    async def live():
        transport = kind(ECHO, {}, TransportOptions())
        await transport.drain(1)
        await transport.stop()
        assert transport.calls_in_flight == 0

    asyncio.run(live())


def test_draining_finishes_what_is_in_flight_and_takes_nothing_new(serve):
    begun = threading.Event()
    calls = []

    def slow(call, message):
        calls.append(call)
        begun.set()
        return PENDING

    serving = serve({"/t/slow": slow, **ECHO})
    with serving.channel() as channel:
        future = channel.unary_unary("/t/slow").future(b"", timeout=WAIT_S)
        assert begun.wait(WAIT_S)
        draining = asyncio.run_coroutine_threadsafe(serving.transport.drain(WAIT_S), serving.loop)
        with serving.channel() as late:
            # the listening socket may take one turn of the loop to close
            refused = None
            while refused is None:
                try:
                    late.unary_unary("/t/echo")(b"", timeout=WAIT_S)
                except grpc.RpcError as problem:
                    refused = problem
            assert refused.code() is grpc.StatusCode.UNAVAILABLE
        assert not draining.done()
        serving.ask(lambda: calls[0].reply(b"finished"))
        assert future.result() == b"finished"
        draining.result(WAIT_S)
    assert serving.transport.calls_in_flight == 0


def test_draining_gives_up_after_its_time(serve):
    told = threading.Event()

    def slow(call, message):
        call.on_cancel(told.set)
        return PENDING

    serving = serve({"/t/slow": slow})
    with serving.channel() as channel:
        future = channel.unary_unary("/t/slow").future(b"", timeout=WAIT_S)
        serving.eventually(lambda: serving.transport.calls_in_flight == 1)
        serving.run(serving.transport.drain(0.1))
        assert told.wait(WAIT_S)
        assert future.exception(WAIT_S).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_stopping_twice_ends_everything_once(serve):
    serving = serve(ECHO)
    with serving.channel() as channel:
        assert channel.unary_unary("/t/echo")(b"x", timeout=WAIT_S) == b"x"
        serving.run(serving.transport.stop())
        serving.run(serving.transport.stop())
        assert serving.transport.calls_in_flight == 0
        assert serving.transport.connections in (0, None)


def client_credentials(certificates, named=True):
    read = (certificates / "client.key").read_bytes(), (certificates / "client.pem").read_bytes()
    return grpc.ssl_channel_credentials((certificates / "ca.pem").read_bytes(), *(read if named else (None, None)))


@pytest.mark.parametrize("mutual", [False, True])
def test_tls_carries_small_and_large_messages(serve, tls_files, certificates, mutual):
    async def echo(call):
        async for message in call:
            await call.send(message)

    serving = serve(ECHO, {"/t/stream": echo}, tls=tls_files(mutual))
    credentials = client_credentials(certificates, named=mutual)
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.secure_channel(f"localhost:{serving.port}", credentials, options) as channel:
        for size in (0, 10, 5 << 20):
            assert channel.unary_unary("/t/echo")(bytes(size), timeout=WAIT_S) == bytes(size)
        sent = [bytes([k]) * 700_000 for k in range(8)]
        assert list(channel.stream_stream("/t/stream")(iter(sent), timeout=WAIT_S)) == sent


def test_mutual_tls_refuses_a_client_without_a_certificate(serve, tls_files, certificates):
    serving = serve(ECHO, tls=tls_files(True))
    with (
        grpc.secure_channel(f"localhost:{serving.port}", client_credentials(certificates, named=False)) as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        channel.unary_unary("/t/echo")(b"", timeout=WAIT_S)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_tls_files_that_cannot_be_read_are_an_oserror(kind, tls_files, tmp_path):
    from dataclasses import replace

    options = TransportOptions(tls=replace(tls_files(False), key=tmp_path / "missing.key"))

    async def start():
        with pytest.raises(OSError, match="No such file"):
            await kind(ECHO, {}, options).start("127.0.0.1", 0)

    asyncio.run(start())


def test_the_choice_says_what_runs():
    assert "grpcio" in choose_transport("grpcio")[1]
    assert choose_transport("auto")[1].startswith("gRPC transport: ")
    with pytest.raises(ValueError, match="expected auto, nghttp2 or grpcio"):
        choose_transport("http3")


def test_without_the_extension_the_fallback_says_how_to_get_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "atoll.frontends.grpc.nghttp2.transport", None)
    chosen, reason = choose_transport("auto")
    assert chosen.__name__ == "GrpcioTransport"
    assert "libnghttp2-dev" in reason
    with pytest.raises(MissingExtraError, match="libnghttp2-dev"):
        choose_transport("nghttp2")


@pytest.mark.parametrize("tls", [False, True])
def test_it_runs_on_asyncios_own_loop_too(kind, tls_files, certificates, tls):
    async def live():
        transport = kind(ECHO, {}, TransportOptions(tls=tls_files(False) if tls else None))
        port = await transport.start("127.0.0.1", 0)

        def ask():
            where, options = f"localhost:{port}", [("grpc.max_receive_message_length", -1)]
            credentials = client_credentials(certificates, named=False)
            channel = grpc.secure_channel(where, credentials, options) if tls else grpc.insecure_channel(where, options)
            with channel:
                echo = channel.unary_unary("/t/echo")
                return [len(echo(bytes(size), timeout=WAIT_S)) for size in (0, 10, 9_000_000)]

        assert await asyncio.to_thread(ask) == [0, 10, 9_000_000]
        await transport.drain(WAIT_S)

    asyncio.run(live())
