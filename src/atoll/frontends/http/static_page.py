"""A web page that is one file of the package, under a policy that lets nothing run but its own script and style."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Final

from atoll.frontends.http.answer import Answer

FRESH: Final = b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
"""Finished lines: kept nowhere, and taken for nothing but what it says it is."""


def static_page(package: str) -> Answer:
    """`page.html` of this package, which has one script and one style, both inside."""
    text, policy = _read(package)
    headers = b"Content-Security-Policy: %s\r\n%sContent-Type: text/html; charset=utf-8\r\n" % (policy, FRESH)
    return Answer(200, [text], headers)


@cache
def _read(package: str) -> tuple[bytes, bytes]:
    text = files(package).joinpath("page.html").read_bytes()
    script, style = (_hashed(text, tag) for tag in (b"script", b"style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
    return text, policy.encode()


def _hashed(text: bytes, tag: bytes) -> str:
    found = re.search(rb"<%b>(.*?)</%b>" % (tag, tag), text, re.DOTALL)
    assert found is not None, f"the page has one {tag.decode()} of its own. This is a bug"
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1]).digest()).decode()}'"
