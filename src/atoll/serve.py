"""A server process: options in, a server with its frontends, signals, and the order of shutdown."""

import asyncio
import gc
import ipaddress
import logging
import signal
import sys
from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import Any, Protocol

import uvloop

from atoll.frontends.grpc.frontend import GrpcFrontend, GrpcOptions
from atoll.frontends.http.frontend import HttpFrontend, HttpOptions
from atoll.frontends.metrics.frontend import MetricsFrontend, MetricsOptions
from atoll.models.fleet import LoadProgress
from atoll.models.memory import keep_freed_memory
from atoll.observability.logs import configure_logs, table
from atoll.observability.progress import LoadDisplay
from atoll.options import library_options
from atoll.server import Server

logger = logging.getLogger(__name__)

GC_THRESHOLD = 20_000  # container objects more than before; Python's own is 700


class Frontend(Protocol):
    """What requests come in through."""

    addresses: list[tuple[str, int]]

    async def start(self) -> None:
        """Listen. Raises OSError naming the address."""

    async def drain(self, timeout_s: float) -> None:
        """Take no new connections, finish what is in flight, close."""

    async def stop(self) -> None:
        """Close everything at once."""


def serve(values: Mapping[str, Any]) -> int:
    """Serve until SIGTERM or SIGINT. `values`: the options of options.py by field name, all of them.

    Returns 0 after an orderly end, 1 when the exit timeout left requests behind, or the signal came before anything
    was served. To be called on the main thread. Raises AtollError when a model
    cannot be loaded (and exit_on_error is on) and OSError when an address cannot be bound.
    """
    display = LoadDisplay(sys.stderr) if sys.stderr.isatty() else None
    configure_logs(
        stream=display,
        verbose=values["log_verbose"] > 0,
        info=values["log_info"],
        warning=values["log_warning"],
        error=values["log_error"],
    )
    if values["repoagent_directory"]:
        logger.warning(
            "--repoagent-directory is ignored: the shared libraries there are not loaded. Agents come as installed "
            "packages; the checksum agent is built in"
        )
    keep_freed_memory(values["malloc_keep_bytes"])
    server = Server(values["model_repository"], **library_options(values))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, until the event loop takes both over
    try:
        server.start(None if display is None else partial(_show, display))
    except KeyboardInterrupt:
        logger.info("signal received while models were being loaded: nothing is served")
        return 1
    finally:
        if display is not None:
            display.close()
    spare_the_collector()
    try:
        return uvloop.run(_serve(server, values))
    finally:
        server.stop(0)


async def _serve(server: Server, values: Mapping[str, Any]) -> int:
    _log_models(server)
    stop = _stop_signal()  # before anybody can learn that the server is up
    frontends = _frontends(server, values)
    started: list[Frontend] = []
    try:
        for name, frontend in frontends:
            await frontend.start()
            started.append(frontend)
            for host, port in frontend.addresses:
                logger.info("Started %s at %s:%d", name, host, port)
                _warn_if_open(name, host)
        await stop
        return await _shut_down(server, started, values["shutdown_delay_secs"], values["exit_timeout_secs"])
    finally:
        for frontend in reversed(started):
            await frontend.stop()


async def _shut_down(server: Server, frontends: list[Frontend], delay_s: int, timeout_s: int) -> int:
    """Not ready; still serving for the delay; then finish what is in flight, within the timeout."""
    server.announce_stop()
    if delay_s:
        logger.info("Stopping: not ready, serving for another %d s", delay_s)
        await asyncio.sleep(delay_s)
    logger.info("Waiting for in-flight requests to complete.")
    deadline = monotonic() + timeout_s
    loop = asyncio.get_running_loop()
    clean = await loop.run_in_executor(None, server.drain, timeout_s)
    await asyncio.gather(*(frontend.drain(max(deadline - monotonic(), 0.1)) for frontend in frontends))
    if clean:
        logger.info("All requests in flight were answered.")
        return 0
    logger.error("Exit timeout expired. Exiting immediately.")
    return 1


def _stop_signal() -> "asyncio.Future[None]":
    """Done at the first SIGTERM or SIGINT; a second one ends the process at once, as by default."""
    loop = asyncio.get_running_loop()
    stop = loop.create_future()

    def on_signal(number: signal.Signals) -> None:
        logger.info("signal (%s) received.", number.name)
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)
        stop.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop


def _frontends(server: Server, values: Mapping[str, Any]) -> list[tuple[str, Frontend]]:
    chosen: list[tuple[str, Frontend]] = []
    if values["allow_grpc"]:
        chosen.append(("GRPCInferenceService", GrpcFrontend(server, GrpcOptions.from_values(values))))
    if values["allow_http"]:
        chosen.append(("HTTPService", HttpFrontend(server, HttpOptions.from_values(values))))
    if values["allow_metrics"]:
        chosen.append(("Metrics Service", MetricsFrontend(server, MetricsOptions.from_values(values))))
    return chosen


def _show(display: LoadDisplay, progress: LoadProgress) -> None:
    if progress.byte_size:
        display.download(progress.model, progress.received, progress.byte_size)
    elif progress.done:
        display.end(progress.model, progress.error is not None)
    else:
        display.begin(progress.model, progress.total)


def _log_models(server: Server) -> None:
    rows: list[tuple[str, ...]] = [(model.name, model.version, "READY") for model in server.models()]
    rows += [(name, "-", f"UNAVAILABLE: {str(error).splitlines()[0]}") for name, error in server.failures().items()]
    logger.info("%s", table(("Model", "Version", "Status"), rows) if rows else "no models")


def _warn_if_open(name: str, host: str) -> None:
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        logger.warning(
            "%s listens on %s and asks for no key: every host that reaches this machine may use it. "
            "Bind it to 127.0.0.1 unless the network in front of it is trusted.",
            name,
            host,
        )


def spare_the_collector() -> None:
    """Leave what start-up made out of garbage collections, and have fewer of them.

    With Python's defaults a small inference spends a twentieth of its time in collections that find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
