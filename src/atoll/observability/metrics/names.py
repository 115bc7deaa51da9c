"""The names that the server's own metrics have on the page: models cannot define others under them."""

from typing import Final

from atoll.observability.metrics import machine_families, server_families
from atoll.observability.metrics.model_families import FAMILIES, IN_FLIGHT, PENDING

_SUFFIXES: Final = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}

SERVER_FAMILIES: Final = frozenset(
    [
        *(family.name for family in FAMILIES),
        *(family.name + suffix for family in FAMILIES for suffix in _SUFFIXES.get(family.kind, ())),
        *(PENDING[0], IN_FLIGHT[0]),
        *server_families.NAMES,
        *machine_families.NAMES,
    ]
)
"""With the names of the lines of histograms and summaries."""
