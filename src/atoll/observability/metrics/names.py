"""The names that the server's own metrics have on the page: models cannot define others under them."""

from typing import Final

from atoll.observability.metrics import machine_families, server_families
from atoll.observability.metrics.model_families import FAMILIES, IN_FLIGHT, PENDING
from atoll.observability.metrics.text_format import SUFFIXES

SERVER_FAMILIES: Final = frozenset(
    [
        *(family.name for family in FAMILIES),
        *(family.name + suffix for family in FAMILIES for suffix in SUFFIXES.get(family.kind, ())),
        *(PENDING[0], IN_FLIGHT[0]),
        *server_families.NAMES,
        *machine_families.NAMES,
    ]
)
"""With the names of the lines of histograms and summaries."""
