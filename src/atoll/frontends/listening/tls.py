"""A server's certificate and key: read, checked with words that help, and read again when the files change."""

import errno
import logging
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

from atoll.errors import InvalidArgumentError

logger = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT_S: Final = 20.0
_LOOK_EVERY_S = 1.0
_Signature = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. `mutual` demands of every client a certificate signed by `root`.

    `prefix`: of the options that named them, `http` for --http-server-cert and so on.
    """

    certificate: Path
    key: Path
    root: Path | None = None
    mutual: bool = False
    prefix: str = "grpc"

    @classmethod
    def from_values(cls, values: Mapping[str, Any], prefix: str, port: str = "") -> "TlsFiles | None":
        """From the server's options, by field name; None where TLS is off.

        `port`: another port, which has a switch of its own and this one's files.
        Raises InvalidArgumentError where TLS is on and a file is not named.
        """
        mutual = values[f"{prefix}_use_ssl_mutual"]
        if not (values[f"{port or prefix}_use_ssl"] or (mutual and not port)):
            return None
        switch = f"--{prefix}-use-ssl-mutual" if mutual and not port else f"--{port or prefix}-use-ssl"
        needed = {"server_cert": "the server's certificate chain", "server_key": "its private key"}
        if mutual:
            needed["root_cert"] = "the certificates that sign clients' certificates"
        for name, meaning in needed.items():
            if not values[f"{prefix}_{name}"]:
                option = f"--{prefix}-{name.replace('_', '-')}"
                raise InvalidArgumentError(f"{switch} needs {option}=FILE: {meaning}, PEM")
        root = values[f"{prefix}_root_cert"]
        return cls(
            certificate=Path(values[f"{prefix}_server_cert"]),
            key=Path(values[f"{prefix}_server_key"]),
            root=Path(root) if root else None,
            mutual=mutual,
            prefix=prefix,
        )

    def named(self) -> list[tuple[str, Path]]:
        """Each file, with the option that names it."""
        files = [("server-cert", self.certificate), ("server-key", self.key)]
        if self.root is not None:
            files.append(("root-cert", self.root))
        return [(f"--{self.prefix}-{name}", path) for name, path in files]


def tls_context(files: TlsFiles, protocols: Sequence[str]) -> ssl.SSLContext:
    """A server's context that speaks one of `protocols`. Raises OSError, naming option and file, for what is wrong."""
    for option, path in files.named():
        try:
            path.open("rb").close()
        except OSError as error:
            raise OSError(error.errno, f"{option}: cannot read '{path}': {error.strerror}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    (_, certificate), (key_option, key) = files.named()[:2]
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except _EncryptedKeyError:
        raise OSError(
            errno.EINVAL,
            f"{key_option}: '{key}' is encrypted, and there is nobody to ask for its password: "
            "decrypt it (openssl pkey -in FILE -out NEW), and let only the server read the new file",
        ) from None
    except OSError as error:
        raise OSError(errno.EINVAL, _what_is_wrong(files, error)) from error
    if files.root is not None:
        try:
            context.load_verify_locations(files.root)
        except OSError as error:
            text = f"--{files.prefix}-root-cert: no certificates in '{files.root}': {_reason(error)}"
            raise OSError(errno.EINVAL, text) from error
    if files.mutual:
        context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(list(protocols))
    return context


class Certificates:
    """The context for the next connection. Belongs to one thread.

    The files are looked at once a second at most, when a connection comes; those that exist keep what they began with.
    """

    def __init__(self, files: TlsFiles, protocols: Sequence[str]):
        """Raises OSError, naming option and file, for what is wrong with them."""
        self._files = files
        self._protocols = protocols
        self._seen = signature(files)
        self._context = tls_context(files, protocols)
        self._look_at = monotonic() + _LOOK_EVERY_S

    def context(self) -> ssl.SSLContext:
        """Of the files as they are; of those before while what is there now cannot be used."""
        now = monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY_S
            seen = signature(self._files)
            if seen != self._seen:
                self._seen = seen
                self._replace()
        return self._context

    def _replace(self) -> None:
        try:
            self._context = tls_context(self._files, self._protocols)
        except OSError as error:
            logger.error("the certificate stays as it was: %s", error.strerror or error)
        else:
            logger.info("new connections get the new certificate of '%s'", self._files.certificate)


def signature(files: TlsFiles) -> _Signature:
    """What changes when one of the files does."""
    found: list[tuple[int, ...]] = []
    for _, path in files.named():
        try:
            status = os.stat(path)
        except OSError:
            found.append(())
        else:
            found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


class _EncryptedKeyError(Exception):
    """The password was asked for."""


def _no_password() -> str:
    raise _EncryptedKeyError


def _what_is_wrong(files: TlsFiles, error: OSError) -> str:
    (certificate_option, certificate), (key_option, key) = files.named()[:2]
    if "KEY_VALUES_MISMATCH" in str(error):
        return (
            f"{key_option}: the key in '{key}' does not belong to the certificate in '{certificate}', which must be "
            "the first one of that file"
        )
    for option, path, what in ((certificate_option, certificate, "CERTIFICATE"), (key_option, key, "PRIVATE KEY")):
        try:
            text = path.read_bytes()
        except OSError:
            text = b""
        if f"{what}-----".encode() not in text:
            return f"{option}: '{path}' holds no PEM block '-----BEGIN {what}-----'"
    return f"{certificate_option} '{certificate}', {key_option} '{key}': cannot be used: {_reason(error)}"


def _reason(error: OSError) -> str:
    return str(error.strerror or error)
