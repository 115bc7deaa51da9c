"""Certificates as grpcio takes them: it asks before every handshake whether there are new ones."""

import logging
import threading
from time import monotonic
from typing import Any

import grpc

from atoll.frontends.grpc.transport import PROTOCOLS
from atoll.frontends.listening.tls import TlsFiles, signature, tls_context

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


def server_credentials(files: TlsFiles) -> Any:
    """For `add_secure_port`. Raises OSError, naming option and file, for what is wrong with them."""
    watch = _Watch(files)
    return grpc.dynamic_ssl_server_credentials(watch.configuration(), watch.changed, files.mutual)


class _Watch:
    """`changed` is called by threads of grpcio."""

    def __init__(self, files: TlsFiles):
        self._files = files
        self._lock = threading.Lock()
        self._seen = signature(files)
        self._look_at = monotonic() + _LOOK_EVERY_S

    def configuration(self) -> Any:
        """What the files hold now. Raises OSError."""
        files = self._files
        tls_context(files, PROTOCOLS)  # says what is wrong; grpcio does not
        return grpc.ssl_server_certificate_configuration(
            [(files.key.read_bytes(), files.certificate.read_bytes())],
            None if files.root is None else files.root.read_bytes(),
        )

    def changed(self) -> Any:
        """The new configuration, or None."""
        with self._lock:
            now = monotonic()
            if now < self._look_at:
                return None
            self._look_at = now + _LOOK_EVERY_S
            seen = signature(self._files)
            if seen == self._seen:
                return None
            self._seen = seen
            try:
                fresh = self.configuration()
            except OSError as error:
                logger.error("the certificate stays as it was: %s", error.strerror or error)
                return None
            logger.info("new connections get the new certificate of '%s'", self._files.certificate)
            return fresh
