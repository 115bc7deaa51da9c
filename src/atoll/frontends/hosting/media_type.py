"""A media type that says where the JSON part of a body ends: `TYPE/...+json;json-header-size=N`.

Hosting services forward a body and its Content-Type and drop other headers, such as Inference-Header-Content-Length.
"""

import re
from collections.abc import Iterable
from copy import copy

from atoll.frontends.http.head import IMPOSSIBLE, RequestHead

_LONGEST = 20  # digits and a sign, after which a number is larger than any body
_NUMBER = re.compile(r"\s*([+-]?[0-9]+)")


def infer_head(head: RequestHead, model: str, media_type: str) -> RequestHead:
    """The head as the infer endpoint reads it: for this model, with the length of its JSON where the Content-Type
    says one, and without compression, which the real server's hosting endpoints do not know.

    `media_type`: up to and including its `=`. What is no number after that counts as 0, as for the real server: a body
    without JSON.
    """
    changed = copy(head)
    changed.arguments = {"model": model}
    changed.content_coding = changed.accept_coding = ""
    changed.json_length, changed.json_size = _json_size(head.headers, media_type)
    return changed


def _json_size(headers: Iterable[tuple[str, str]], media_type: str) -> tuple[str | None, int]:
    for name, value in headers:
        if name == "content-type" and value.startswith(media_type):
            text = value.removeprefix(media_type)
            number = _NUMBER.match(text)
            if number is None:
                return text, 0
            size = int(number[1][:_LONGEST])
            return text, size if size >= 0 else IMPOSSIBLE
    return None, -1
