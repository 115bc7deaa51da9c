"""What other libraries' errors say, in a length that a log line and an answer can bear."""

MOST_TEXT = 2000  # characters


def bounded(text: str) -> str:
    """The text; of a long one the start, and the end, where tracebacks have the cause."""
    if len(text) <= MOST_TEXT:
        return text
    return f"{text[: MOST_TEXT // 2]} [...] {text[-MOST_TEXT // 2 :]}"


def bounded_text(error: BaseException) -> str:
    """What an exception says; its type's name where that is nothing."""
    return bounded(str(error).strip() or type(error).__name__)
