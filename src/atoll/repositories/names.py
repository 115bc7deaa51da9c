"""Which texts can be a model's name, wherever the model lies. Clients send names: a wrong one never reaches a disk."""

MAX_BYTES = 255  # what Linux allows for the name of a folder


def why_impossible(name: str) -> str | None:
    """Why no model can have this name, or None for a name that one can have."""
    if not name:
        return "a model's name must not be empty"
    if name.startswith("."):
        return "a model's name must not begin with a dot"
    if "/" in name or "\0" in name:
        return "a model's name must not contain a slash or a null character"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "a model's name must be valid Unicode"
    if size > MAX_BYTES:
        return f"a model's name must not be longer than {MAX_BYTES} bytes, this one has {size}"
    return None


def shown(name: str) -> str:
    """A client's name in an error text: cut to a length that can be read, and always encodable."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 100 else f"{text[:100]}..."
