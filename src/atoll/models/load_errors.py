"""What a client reads whose load failed: the real server's words, and the cause, which that leaves to its log."""

from collections.abc import Mapping

from atoll.errors import AtollError, ConfigError, InternalError, UnavailableError
from atoll.models.lifecycle import ModelState


class UnreadableModelError(ConfigError):
    """The configuration cannot be read: nothing is known of the model."""


def not_polled(name: str, error: AtollError) -> InternalError:
    """The model was not found, or what is written about it cannot be read."""
    text = f"failed to load '{name}', failed to poll from model repository"
    return InternalError(str(error) if text in str(error) else f"{text}: {error}")


def not_loaded(name: str, versions: Mapping[str, tuple[ModelState, str]], error: AtollError) -> AtollError:
    """What `error` is to the client. `versions`: how far each that was to be loaded came."""
    if isinstance(error, UnreadableModelError):
        return not_polled(name, error)
    if isinstance(error, UnavailableError):
        return error
    lines = "".join(
        f"version {version} is at {state.value} state: {reason};\n" for version, (state, reason) in versions.items()
    )
    text = f"load failed for model '{name}': {lines or str(error)}"
    return ConfigError(text, getattr(error, "problems", ()))
