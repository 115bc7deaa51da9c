"""Long errors of other libraries are cut, and keep what tells their cause."""

from atoll.backends.error_text import MOST_TEXT, bounded, bounded_text


def test_a_long_text_keeps_its_start_and_its_end() -> None:
    text = bounded("the start " + "x" * 1_000_000 + " the end")
    assert text.startswith("the start ")
    assert text.endswith(" the end")
    assert len(text) < MOST_TEXT + 10
    assert bounded("x" * MOST_TEXT) == "x" * MOST_TEXT


def test_an_error_without_words_goes_by_its_name() -> None:
    assert bounded_text(ValueError(" why \n")) == "why"
    assert bounded_text(ValueError()) == "ValueError"
