"""Which headers go to models, and how a load balancer is told how full they are."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import InvalidArgumentError
from atoll.frontends.inference.carried_headers import LONGEST_NAME, HeaderReader
from atoll.frontends.inference.load_metrics import FAMILY, load_metrics_line
from atoll.observability.metrics.custom import CustomMetrics
from atoll.observability.tracing.context import TraceContext
from atoll.request import InferenceRequest

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def forwarded(pattern: str, *names: str) -> list[str]:
    carried = HeaderReader(pattern, "http-header-forward-pattern").read([(name, "v") for name in names])
    return [] if carried is None else list(carried.parameters)


def test_without_a_pattern_and_a_context_nothing_is_carried() -> None:
    assert HeaderReader().read([("host", "x"), ("x-one", "a"), ("traceparent", "bad")]) is None


def test_a_pattern_is_found_anywhere_in_a_name_whatever_its_case() -> None:
    assert forwarded("x-.*", "X-One", "ax-two", "y", "x") == ["X-One", "ax-two"]
    assert forwarded("^x-", "X-One", "ax-two") == ["X-One"]


def test_the_syntax_of_re2_that_python_has_not() -> None:
    assert forwarded(r"^x-[[:alpha:]]+\z", "x-abc", "x-ab1", "x-a-b") == ["x-abc"]
    assert forwarded(r"^x-[[:digit:][:upper:]_]+$", "x-1_", "x-%") == ["x-1_"]


@pytest.mark.parametrize("pattern", ["(", "*", "[a", "(?P<n>a)(?P<n>b)"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"--http-header-forward-pattern=.*is no regular expression"):
        HeaderReader(pattern, "http-header-forward-pattern")


def test_what_belongs_to_a_sequence_and_what_is_no_text_stay_behind() -> None:
    names = ("sequence_id", "Sequence_Start", "sequence_end", "sequence_idx")
    assert forwarded(".*", *names) == ["sequence_idx"]
    carried = HeaderReader(".*").read([("x-bin", b"\x00"), ("x" * (LONGEST_NAME + 1), "long"), ("a", "b")])
    assert carried is not None
    assert carried.parameters == {"a": "b"}


def test_the_last_of_several_headers_of_a_name_counts_and_wins_over_a_parameter() -> None:
    carried = HeaderReader("x").read([("x", "1"), ("x", "2")])
    assert carried is not None
    request = InferenceRequest("m", {}, SimpleNamespace(), parameters={"x": "own", "y": 1})  # type: ignore[arg-type]
    own = request.parameters
    carried.give(request)
    assert request.parameters == {"x": "2", "y": 1}
    assert own == {"x": "own", "y": 1}  # it may be remembered for equal requests


def test_a_context_and_a_wish_are_carried_without_a_pattern() -> None:
    carried = HeaderReader().read([("TraceParent", PARENT), ("Endpoint-Load-Metrics-Format", "text")])
    assert carried is not None
    assert (carried.context, carried.load_metrics, carried.parameters) == (TraceContext(PARENT), "text", {})


@given(st.lists(st.tuples(st.text(max_size=20), st.one_of(st.text(max_size=20), st.binary(max_size=20)))))
def test_whatever_headers_say_only_what_the_pattern_finds_is_forwarded(headers: list[tuple[str, str | bytes]]) -> None:
    carried = HeaderReader("a.c").read(headers)
    for name in {} if carried is None else carried.parameters:
        assert re.search("a.c", name, re.IGNORECASE)
        assert name in dict(headers)


class Metrics:
    """A server whose models have set these: (labels, value)."""

    def __init__(self, *values: tuple[dict[str, str], float]):
        self.custom_metrics = metrics = CustomMetrics()
        owner = object()
        family = metrics.create_family(owner, FAMILY, "blocks", "gauge")
        for labels, value in values:
            metrics.change(metrics.create_metric(owner, family, labels), "set", value)


def line(server: Any, form: str, model: str = "m") -> str:
    return load_metrics_line(server, model, form).decode()


def blocks(used: float, most: float, tokens: float, **labels: str) -> list[tuple[dict[str, str], float]]:
    values = {"used": used, "max": most, "tokens_per": tokens}
    return [({"kv_cache_block_type": kind, **labels}, value) for kind, value in values.items()]


def test_both_forms_of_load_metrics() -> None:
    server = Metrics(*blocks(3, 12, 64))
    named = '{"named_metrics": {"kv_cache_utilization": 0.25, "max_token_capacity": 768}}'
    assert line(server, "json") == f"endpoint-load-metrics: JSON {named}\r\n"
    assert line(server, "text") == (
        "endpoint-load-metrics: TEXT named_metrics.kv_cache_utilization=0.25, named_metrics.max_token_capacity=768\r\n"
    )


def test_the_metrics_of_other_models_are_not_this_ones() -> None:
    server = Metrics(*blocks(1, 2, 10, model="m"), *blocks(9, 9, 9, model="other"))
    assert "0.5" in line(server, "json")
    assert line(server, "json", "third") == ""


def test_instances_add_up() -> None:
    server = Metrics(*blocks(1, 2, 10, instance="0"), *blocks(2, 2, 10, instance="1"))
    assert '"kv_cache_utilization": 0.75, "max_token_capacity": 40' in line(server, "json")


def test_no_blocks_are_no_division() -> None:
    assert '"kv_cache_utilization": 0.0, "max_token_capacity": 0' in line(Metrics(*blocks(0, 0, 0)), "json")


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_figures_that_are_none_are_not_told(value: float) -> None:
    assert line(Metrics(*blocks(1, value, 2)), "json") == ""


def test_without_the_metrics_there_is_no_line() -> None:
    assert line(Metrics(*blocks(1, 2, 3)[:2]), "json") == ""
    assert line(SimpleNamespace(custom_metrics=CustomMetrics()), "json") == ""
