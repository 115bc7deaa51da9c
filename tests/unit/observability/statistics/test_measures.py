"""Buckets that a model's configuration chooses: in what unit, and which are refused."""

import math
from collections.abc import Sequence

import pytest

from atoll.config.model_config import ModelConfig
from atoll.config.textproto import read_config_text
from atoll.errors import ConfigError
from atoll.observability.statistics.measures import (
    BATCH_SIZE,
    COMPUTE,
    DEFAULT_BUCKETS,
    FIRST_RESPONSE,
    MAX_BUCKETS,
    REQUEST,
    Measures,
    measures,
)


def _parsed(text: str) -> ModelConfig:
    return read_config_text(text, "config.pbtxt")


def configured(family: str, buckets: Sequence[float], more: str = "") -> Measures:
    options = "".join(f"buckets: {bound} " for bound in buckets)
    config = _parsed(
        f'name: "m" {more} model_metrics {{ metric_control {{ metric_identifier {{ family: "{family}" }} '
        f"histogram_options {{ {options} }} }} }}"
    )
    return measures(config)


def test_without_a_word_the_buckets_are_the_usual_ones() -> None:
    found = measures(_parsed('name: "m"'))
    assert found == Measures(DEFAULT_BUCKETS)


@pytest.mark.parametrize(
    ("family", "buckets", "counted"),
    [
        (REQUEST, [0.001, 0.5, 2], (10**6, 5 * 10**8, 2 * 10**9)),
        (FIRST_RESPONSE, [0.5, 10, 100], (500_000, 10**7, 10**8)),
        (BATCH_SIZE, [1, 3, 12], (1, 3, 12)),
        (COMPUTE, [0.25, math.inf], (25 * 10**7,)),
    ],
)
def test_buckets_are_in_the_familys_own_unit(family: str, buckets: list[float], counted: tuple[int, ...]) -> None:
    found = configured(family, buckets)
    assert found.buckets == {**DEFAULT_BUCKETS, family: counted}


@pytest.mark.parametrize("family", ["nv_inference_request_success", "anything", ""])
def test_other_families_are_passed_over(family: str) -> None:
    assert configured(family, [1, 2]).buckets == DEFAULT_BUCKETS


def test_no_buckets_are_no_word() -> None:
    assert configured(REQUEST, []).buckets == DEFAULT_BUCKETS


@pytest.mark.parametrize(
    "buckets",
    [[0], [-1, 1], [2, 1], [1, 1], [math.nan], [1, math.nan], [math.inf], [-math.inf, 1], [1, math.inf, 2], [1e-12]],
)
def test_buckets_that_make_no_histogram_are_refused(buckets: list[float]) -> None:
    with pytest.raises(ConfigError, match=f"{REQUEST} are .* must be numbers above zero"):
        configured(REQUEST, buckets)


def test_the_number_of_buckets_is_bounded() -> None:
    most = list(range(1, MAX_BUCKETS + 1))
    assert len(configured(BATCH_SIZE, most).buckets[BATCH_SIZE]) == MAX_BUCKETS
    with pytest.raises(ConfigError, match=f"has {MAX_BUCKETS + 1} buckets but may have {MAX_BUCKETS}"):
        configured(BATCH_SIZE, [*most, MAX_BUCKETS + 1])


def test_first_responses_are_those_of_decoupled_models() -> None:
    plain, decoupled = (_parsed(f'name: "m" {text}') for text in ("", "model_transaction_policy { decoupled: true }"))
    assert not measures(plain, first_responses=True).first_responses
    assert measures(decoupled, first_responses=True).first_responses
    assert not measures(decoupled).first_responses
    assert measures(plain, summaries=True).summaries
