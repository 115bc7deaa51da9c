"""Where a repository lies in an object store: the forms of s3://, gs:// and as:// locations, read and written back.

The forms are Triton's: `s3://bucket/path`, `s3://host:port/bucket/path` (plain HTTP), `s3://https://host:port/bucket/path`,
`gs://bucket/path`, `as://account/container/path`. `gs` and `as` take an endpoint in the same way.
"""

import re
from dataclasses import dataclass
from enum import Enum

from atoll.errors import ConfigError
from atoll.repositories.object_names import check_segment


class Service(Enum):
    """Whose API an object store speaks; the value is its location's scheme."""

    S3 = "s3"
    GCS = "gs"
    AZURE = "as"


BUCKET = re.compile(r"\$?[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
FORMS = {
    Service.S3: "s3://bucket/path, s3://host:port/bucket/path or s3://https://host:port/bucket/path",
    Service.GCS: "gs://bucket/path",
    Service.AZURE: "as://account/container/path",
}


@dataclass(frozen=True, slots=True)
class ObjectLocation:
    """A folder of an object store.

    `prefix` has no slash at either end, and is empty for the whole bucket. `endpoint` is scheme://host[:port], empty
    for the service's own. `account` is Azure's storage account, whose `bucket` is a container.
    """

    service: Service
    bucket: str
    prefix: str
    endpoint: str = ""
    account: str = ""

    def key(self, path: str) -> str:
        """The object's whole name for a path below this location ("" for the location itself)."""
        return "/".join(part for part in (self.prefix, path) if part)

    def url(self, key: str = "") -> str:
        """The location of an object or a folder, as an operator would write it."""
        parts = [self.endpoint, self.account, self.bucket, key]
        if self.endpoint and _names_account(self.endpoint, self.account):
            parts.remove(self.account)
        return f"{self.service.value}://{'/'.join(part for part in parts if part)}"


def is_object_store(location: str) -> bool:
    """Whether this repository lies in an object store: s3://, gs:// or as://."""
    return location.startswith(tuple(f"{service.value}://" for service in Service))


def parse_location(text: str) -> ObjectLocation:
    """Reads a location. Raises ConfigError, whose text never repeats what may be a credential."""
    scheme, _, rest = text.partition("://")
    service = Service(scheme)
    if "?" in rest or "#" in rest:
        shown = re.split(r"[?#]", text)[0]
        raise ConfigError(
            f"model repository '{shown}' is followed by '?' or '#': a location has no query. "
            "Give credentials (a SAS token, say) by environment variables or TRITON_CLOUD_CREDENTIAL_PATH"
        )
    protocol = ""
    for one in ("https://", "http://"):
        if rest.startswith(one):
            protocol, rest = one, rest.removeprefix(one)
    segments = [segment for segment in rest.split("/") if segment]
    if segments and "@" in segments[0]:
        raise ConfigError(
            f"model repository '{scheme}://...@{rest.partition('@')[2]}' has credentials before its host: give them by "
            "environment variables or TRITON_CLOUD_CREDENTIAL_PATH"
        )
    endpoint = ""
    account = ""
    if protocol or (segments and service is Service.S3 and ":" in segments[0]):
        endpoint = _endpoint(text, protocol or "http://", segments, service)
    if service is Service.AZURE:
        endpoint, account = _account(endpoint, segments)
    if not segments:
        raise ConfigError(f"model repository '{text}' names no bucket: it must be of the form {FORMS[service]}")
    bucket, *path = segments
    if not BUCKET.fullmatch(bucket):
        raise ConfigError(
            f"model repository '{text}': '{bucket}' cannot be a bucket's name; the form is {FORMS[service]}"
        )
    for segment in path:
        check_segment(segment, f"model repository '{text}'")
    return ObjectLocation(service, bucket, "/".join(path), endpoint, account)


def _endpoint(text: str, protocol: str, segments: list[str], service: Service) -> str:
    """The endpoint whose host is the first segment, which is taken away."""
    host = segments.pop(0) if segments else ""
    match = HOST.fullmatch(host)
    if not match or (match[2] and int(match[2][1:]) > 65535):
        raise ConfigError(f"model repository '{text}': '{host}' is not a host and port; the form is {FORMS[service]}")
    return protocol + host


def _account(endpoint: str, segments: list[str]) -> tuple[str, str]:
    """The endpoint and the storage account: named by the host (account.blob...) or by the first segment."""
    host = endpoint.partition("://")[2]
    if ".blob." in host:
        return endpoint, host.partition(".")[0]
    if not segments:
        return endpoint, ""
    account = segments.pop(0)
    if not endpoint and ".blob." in account and HOST.fullmatch(account):
        return f"https://{account}", account.partition(".")[0]
    return endpoint, account


def _names_account(endpoint: str, account: str) -> bool:
    return bool(account) and endpoint.partition("://")[2].startswith(f"{account}.blob.")
