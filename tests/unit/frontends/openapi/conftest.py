"""The browser of the tests here."""

from tests.browser import browser

__all__ = ["browser"]
