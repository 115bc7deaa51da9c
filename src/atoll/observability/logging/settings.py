"""What the server's log takes, and in which form: set by the options, and changed while the server runs."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

FORMATS: Final = ("default", "ISO8601", "json")
"""The last one is ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """`file`: where the log goes, "" for standard error. `verbose_level`: 0 is off; at N, what is told at the levels 1
    to N is shown.
    """

    file: str = ""
    info: bool = True
    warning: bool = True
    error: bool = True
    verbose_level: int = 0
    format: str = "default"

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """From the server's options, by field name."""
        return cls(
            file=values["log_file"],
            info=values["log_info"],
            warning=values["log_warning"],
            error=values["log_error"],
            verbose_level=values["log_verbose"],
            format=values["log_format"],
        )

    @property
    def lowest(self) -> int:
        """The lowest severity, as a number of `logging`'s, that is to be seen: what is told at the verbose level N has
        DEBUG's number less N - 1.
        """
        if self.verbose_level <= 0:
            return logging.INFO
        return max(logging.DEBUG + 1 - self.verbose_level, 1)

    def shows(self, severity: int) -> bool:
        """Whether a line of that severity is to be seen."""
        if severity >= logging.ERROR:
            return self.error
        if severity >= logging.WARNING:
            return self.warning
        if severity >= logging.INFO:
            return self.info
        return severity >= self.lowest
