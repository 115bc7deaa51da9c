"""A body's JSON sized by its media type: whatever a client writes there."""

from hypothesis import given
from hypothesis import strategies as st

from atoll.frontends.hosting.media_type import infer_head
from atoll.frontends.http.head import IMPOSSIBLE, RequestHead

TYPE = "application/vnd.sagemaker-triton.binary+json;json-header-size="


def size(value: str) -> int:
    head = RequestHead("POST", [("content-type", value)])
    head.content_coding = head.accept_coding = "gzip"
    changed = infer_head(head, "m", TYPE)
    assert (changed.arguments, changed.content_coding, changed.accept_coding) == ({"model": "m"}, "", "")
    assert (head.content_coding, head.json_size) == ("gzip", -1), "heads are shared and stay as they are"
    return changed.json_size


@given(st.integers(0, 2**62), st.text(alphabet="x; =-", max_size=4))
def test_a_number_is_read_as_c_reads_it(number: int, rest: str) -> None:
    assert size(f"{TYPE}{number}{rest}") == number
    assert size(f"{TYPE} +{number}") == number


@given(st.text(max_size=40))
def test_nothing_else_breaks_it(text: str) -> None:
    found = size(TYPE + text)
    assert 0 <= found <= 10**20
    assert size(text) == -1 or text.startswith(TYPE)


def test_impossible_sizes_fit_no_body() -> None:
    for text in ("-1", "9" * 20, "1" * 5000):
        assert size(TYPE + text) >= 10**18
    assert size(TYPE + "-1") == IMPOSSIBLE
    assert size("application/json") == -1
