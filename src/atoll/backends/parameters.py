"""What a model's `parameters` and its backend's settings say, read and judged: for every backend alike."""

import re
from collections.abc import Collection, Mapping
from math import inf, isfinite, nan

from atoll.backends.api import ModelSource
from atoll.config.parameter_text import read_whole_number
from atoll.config.problems import Problem
from atoll.errors import ConfigError

MAX_THREADS = 1024  # beyond any machine; creating a million threads would end the process, not the load

_SWITCHES = {"0": False, "1": True, "false": False, "true": True, "no": False, "yes": True, "off": False, "on": True}


class Parameters:
    """Of one model. What its configuration says wins over `--backend-config=NAME,key=value`.

    Every method raises ConfigError where a value is wrong: it names the key, where it stands, and what it may be.
    """

    def __init__(self, source: ModelSource):
        self._model = source.name
        self._backend = source.config.backend
        self._settings: Mapping[str, str] = source.settings
        self._written = {key: one.string_value for key, one in source.config.parameters.items()}

    def text(self, key: str) -> str:
        """The key's value without blanks around it; "" where nobody gives one."""
        return self._written.get(key, self._settings.get(key, "")).strip()

    def number(self, key: str, largest: int, *, least: int = 0, default: int = 0) -> int:
        """A whole number from `least` to `largest`."""
        text = self.text(key)
        if not text:
            return default
        found = read_whole_number(text, largest)
        if found is None or found < least:
            raise self.wrong(key, f"a whole number from {least} to {largest}")
        return found

    def decimal(self, key: str, wanted: str, *, least: float = -inf, largest: float = inf, default: float = 0) -> float:
        """A number from `least` to `largest`, never an infinite one; `wanted` says so in an error."""
        text = self.text(key)
        if not text:
            return default
        try:
            found = float(text)
        except ValueError:
            found = nan
        if not (isfinite(found) and least <= found <= largest):
            raise self.wrong(key, wanted)
        return found

    def switch(self, key: str, default: bool = False) -> bool:
        """True or false, also as 1 or 0, in any case of the letters."""
        text = self.text(key).lower()
        if not text:
            return default
        if text not in _SWITCHES:
            raise self.wrong(key, "true or false")
        return _SWITCHES[text]

    def choice(self, key: str, among: Collection[str], default: str = "") -> str:
        """One of some words, as it is written there."""
        text = self.text(key)
        if not text:
            return default
        found = next((one for one in among if one.lower() == text.lower()), None)
        if found is None:
            raise self.wrong(key, f"one of {', '.join(among)}")
        return found

    def matching(self, pattern: "re.Pattern[str]") -> dict[str, str]:
        """All that is said under keys of that form, sorted by key."""
        keys = {*self._settings, *self._written}
        return {key: self.text(key) for key in sorted(keys) if pattern.fullmatch(key)}

    def operator_allows(self, key: str) -> bool:
        """A switch that the command line alone can turn on: what comes with a model cannot allow it to itself."""
        text = self._settings.get(key, "").strip().lower()
        if text and text not in _SWITCHES:
            raise ConfigError(f"--backend-config={self._backend},{key}={text} is '{text}' but must be true or false")
        return _SWITCHES.get(text, False)

    def wrong(self, key: str, wanted: str) -> ConfigError:
        """That the key's value is not what is wanted."""
        text = self.text(key)
        if key not in self._written:
            return ConfigError(f"--backend-config={self._backend},{key}={text} is '{text}' but must be {wanted}")
        message = f"parameter '{key}' of model '{self._model}' is '{text}' but must be {wanted}"
        return ConfigError(
            message,
            [Problem(f"parameters[{key!r}]", message, f"'{text}'", wanted, "Correct its value, or leave it out.")],
        )
