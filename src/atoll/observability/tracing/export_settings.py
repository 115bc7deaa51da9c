"""Where spans are exported to, and how: what --trace-config=opentelemetry,... and the OTEL_* variables say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atoll.errors import InvalidArgumentError

SERVICE_NAME = "service.name"
DEFAULT_SERVICE = "triton-inference-server"  # as the real server calls itself, so that dashboards find either
_NUMBERS: Mapping[str, tuple[str, int]] = {
    "bsp_max_queue_size": ("OTEL_BSP_MAX_QUEUE_SIZE", 1_000_000),  # spans, some 2 KB each
    "bsp_schedule_delay": ("OTEL_BSP_SCHEDULE_DELAY", 86_400_000),
    "bsp_max_export_batch_size": ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1_000_000),
}
"""The settings that are numbers: the variable that says each, and the largest there may be."""

KEYS = ("url", "resource", *_NUMBERS)


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """`url` "": what OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT or, without them, the standard
    says. `resource`: what identifies this server, as NAME=VALUE. At most `bsp_max_queue_size` spans wait to be
    exported, for at most `bsp_schedule_delay` milliseconds, and go out `bsp_max_export_batch_size` at once.
    """

    url: str = ""
    resource: tuple[str, ...] = ()
    bsp_max_queue_size: int = 2048
    bsp_schedule_delay: int = 5000
    bsp_max_export_batch_size: int = 512

    def document(self) -> dict[str, Any]:
        """As the protocol says it: numbers are strings; the resource is a list where it is of several attributes."""
        document: dict[str, Any] = {"url": without_password(self.url)} if self.url else {}
        if self.resource:
            document["resource"] = list(self.resource) if len(self.resource) > 1 else self.resource[0]
        return {
            **document,
            "bsp_schedule_delay": str(self.bsp_schedule_delay),
            "bsp_max_export_batch_size": str(self.bsp_max_export_batch_size),
            "bsp_max_queue_size": str(self.bsp_max_queue_size),
        }

    def attributes(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The resource as attributes; with a service's name, if nothing else gives it one."""
        found = {}
        for text in self.resource:
            name, _, value = text.partition("=")
            found[name] = value
        if SERVICE_NAME not in found and not _names_service(environment):
            found[SERVICE_NAME] = DEFAULT_SERVICE
        return found


def with_scheme(url: str) -> str:
    """A URL that may be written without one, as the real server takes it."""
    return url if "://" in url else f"http://{url}"


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    start = url.find("://") + 3 if "://" in url else 0
    scheme, rest = url[:start], url[start:]
    place, slash, path = rest.partition("/")
    return f"{scheme}{place.rpartition('@')[2]}{slash}{path}"


def _names_service(environment: Mapping[str, str]) -> bool:
    said = environment.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    return bool(environment.get("OTEL_SERVICE_NAME")) or any(
        one.partition("=")[0].strip() == SERVICE_NAME for one in said
    )


def check_setting(key: str, value: str, place: str) -> None:
    """Raises InvalidArgumentError for a value that cannot be meant; `place` says where it stands."""
    if key == "url":
        scheme, _, rest = with_scheme(value).partition("://")
        if scheme.lower() not in ("http", "https") or not rest.partition("/")[0]:
            raise InvalidArgumentError(f"{place}: expected a URL, such as http://localhost:4318/v1/traces")
    elif key == "resource":
        name, equals, _ = value.partition("=")
        if not equals or not name:
            raise InvalidArgumentError(f"{place}: expected NAME=VALUE, such as resource=service.name=vision")
    else:
        _, largest = _NUMBERS[key]
        if not (value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= largest):
            raise InvalidArgumentError(f"{place}: expected a whole number from 1 to {largest}")


def export_settings(given: Mapping[str, list[str]], environment: Mapping[str, str]) -> ExportSettings:
    """Of what was given, which is checked: of each setting the last counts, of `resource` each. What was not given
    the environment says.

    Raises InvalidArgumentError that names the variable.
    """
    numbers = {}
    for key in _NUMBERS:
        variable = _NUMBERS[key][0]
        value = environment.get(variable)
        if key in given:
            numbers[key] = int(given[key][-1])
        elif value:
            check_setting(key, value, f"the environment's {variable}={value}")
            numbers[key] = int(value)
    url = given.get("url", [""])[-1]
    return ExportSettings(url=url, resource=tuple(given.get("resource", ())), **numbers)
