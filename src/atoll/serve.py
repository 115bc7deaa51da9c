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

from atoll.backends.registry import backend_origins
from atoll.frontends.chosen import Frontend, chosen_frontends, start_all
from atoll.frontends.context import FrontendContext
from atoll.models.load_progress import LoadProgress
from atoll.models.memory import keep_freed_memory
from atoll.observability.logging.lines import table
from atoll.observability.logging.server_log import ServerLog, configure_logs
from atoll.observability.logging.settings import LogSettings
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
    if _has_log_files(values):  # elsewhere the signal means what it always does: the terminal is gone
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


def _has_log_files(values: Mapping[str, Any]) -> bool:
    """Whether SIGHUP is to open any anew."""
    return bool(values["log_file"] or values["access_log"])


async def _serve(
    server: Server, context: FrontendContext, frontends: Mapping[str, Frontend], values: Mapping[str, Any]
) -> int:
    _log_tables(server)
    stop = _stop_signal()  # before anybody can learn that the server is up
    loop = asyncio.get_running_loop()
    if _has_log_files(values):
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


def _log_tables(server: Server) -> None:
    """Backends, models and settings, as the real server's log has them."""
    settings = server.options.backend_config
    backends = [
        (name, origin, " ".join(one.partition(",")[2] for one in settings if one.startswith(f"{name},")))
        for name, origin in backend_origins().items()
    ]
    logger.info("%s", table(("Backend", "Package", "Config"), backends))
    rows: list[tuple[str, ...]] = [(model.name, model.version, "READY") for model in server.models()]
    rows += [(name, "-", f"UNAVAILABLE: {str(error).splitlines()[0]}") for name, error in server.failures().items()]
    logger.info("%s", table(("Model", "Version", "Status"), rows) if rows else "no models")
    logger.info("%s", table(("Option", "Value"), _option_rows(server)))


def _option_rows(server: Server) -> list[tuple[str, str]]:
    options, metadata = server.options, server.metadata()
    repositories = [(f"model_repository_path[{n}]", path) for n, path in enumerate(options.model_repository)]
    least = options.min_supported_compute_capability
    return [
        ("server_id", metadata.name),
        ("server_version", metadata.version),
        ("server_extensions", " ".join(metadata.extensions)),
        *repositories,
        ("model_control_mode", f"MODE_{options.model_control_mode.upper()}"),
        ("strict_model_config", str(int(options.disable_auto_complete_config))),
        ("model_config_name", options.model_config_name),
        ("rate_limit", options.rate_limit.upper()),
        ("pinned_memory_pool_byte_size", str(server.memory_pool.total_bytes)),
        ("min_supported_compute_capability", "" if least is None else str(least)),
        ("strict_readiness", str(int(options.strict_readiness))),
        ("exit_timeout", str(options.exit_timeout_secs)),
        ("cache_enabled", str(int(server.response_cache is not None))),
    ]


def spare_the_collector() -> None:
    """Leave what start-up made out of garbage collections, and have fewer of them.

    With Python's defaults a small inference spends a twentieth of its time in collections that find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
