"""The texts of a model's own `parameters`: the numbers in them, and what is said of one that is wrong."""

from atoll.config.problems import Problem


def read_seconds(text: str, most: float) -> float | None:
    """A number of seconds, such as 0.25; None for what is no number above 0 and up to `most`."""
    if not text.isascii() or len(text) > 32 or not text.replace(".", "", 1).isdigit():
        return None
    seconds = float(text)
    return seconds if 0 < seconds <= most else None


def read_whole_number(text: str, most: int) -> int | None:
    """A number from 0 to `most`, which has up to 10 digits; None for what is none."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    return int(text) if int(text) <= most else None


def wrong_parameter(model_name: str, key: str, text: str, wanted: str) -> Problem:
    """That the parameter's text is not what is `wanted`."""
    message = f"parameter '{key}' of model '{model_name}' is '{text}' but must be {wanted}"
    return Problem(f"parameters.{key}", message, f"'{text}'", wanted, "")
