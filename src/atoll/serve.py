"""A server process: options in, a server with its frontends, signals, and the order of shutdown."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import Any

import uvloop

from atoll.frontends.chosen import Frontend, chosen_frontends, start_all
from atoll.frontends.context import FrontendContext
from atoll.models.fleet import LoadProgress
from atoll.models.memory import keep_freed_memory
from atoll.observability.log_lines import table
from atoll.observability.log_settings import LogSettings
from atoll.observability.logs import ServerLog, configure_logs
from atoll.observability.progress import LoadDisplay
from atoll.options import library_options
from atoll.server import Server
from atoll.settled_options import settled

logger = logging.getLogger(__name__)

GC_THRESHOLD = 20_000  # container objects more than before; Python's own is 700


def serve(values: Mapping[str, Any]) -> int:
    """Serve until SIGTERM or SIGINT. `values`: the options of options.py by field name, all of them.

    Returns 0 after an orderly end, 1 when the exit timeout left requests behind, or the signal came before anything
    was served. To be called on the main thread. Raises AtollError when a model
    cannot be loaded (and exit_on_error is on) and OSError when an address cannot be bound.
    """
    display = LoadDisplay(sys.stderr) if sys.stderr.isatty() else None
    log = configure_logs(LogSettings.from_values(values), stream=display)
    try:
        return _serve_logged(values, display, log)
    finally:
        log.close()


def _serve_logged(values: Mapping[str, Any], display: LoadDisplay | None, log: ServerLog) -> int:
    if (
        values["log_file"] or values["access_log"]
    ):  # elsewhere the signal means what it always does: the terminal is gone
        signal.signal(signal.SIGHUP, lambda *_: log.reopen())
    values, notices = settled(values)
    for notice in notices:
        logger.warning("%s", notice)
    keep_freed_memory(values["malloc_keep_bytes"])
    server = Server(values["model_repository"], **library_options(values))
    context = FrontendContext.from_values(server, values)  # first: what it refuses need not wait for the models
    try:
        frontends = chosen_frontends(context, values)  # the same
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
            return uvloop.run(_serve(server, context, frontends, values))
        finally:
            server.stop(0)
    finally:
        context.close()


async def _serve(
    server: Server, context: FrontendContext, frontends: Mapping[str, Frontend], values: Mapping[str, Any]
) -> int:
    _log_models(server)
    stop = _stop_signal()  # before anybody can learn that the server is up
    loop = asyncio.get_running_loop()
    if values["log_file"] or values["access_log"]:
        loop.add_signal_handler(signal.SIGHUP, context.reopen_logs)
    try:
        await start_all(frontends, context)
        server.lend_loop(loop)
        await stop
        return await _shut_down(
            server, list(frontends.values()), values["shutdown_delay_secs"], values["exit_timeout_secs"]
        )
    finally:
        for frontend in reversed(list(frontends.values())):
            await frontend.stop()
        server.take_back_loop(loop)


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


def spare_the_collector() -> None:
    """Leave what start-up made out of garbage collections, and have fewer of them.

    With Python's defaults a small inference spends a twentieth of its time in collections that find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
