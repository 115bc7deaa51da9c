"""Every query of every dashboard, evaluated by a real Prometheus over what a live server told it."""

import math
import re
import time
from collections.abc import Iterator

import pytest
from tests.deploy.conftest import Scraped
from tests.deploy.dashboards import PATHS, Query, queries, read
from tests.deploy.expressions import names
from tests.deploy.live import MODELS
from tests.deploy.prometheus import Series

ALL_QUERIES = [query for path in PATHS for query in queries(read(path))]
DOCUMENT = PATHS[0].parents[3] / "docs" / "monitoring.md"


def document_queries() -> list[Query]:
    """What the document shows to ask, of a model that there is here."""
    texts = re.findall(r"^```promql\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    return [
        Query(f"monitoring.md: {number}", text.replace('"resnet"', '"pair"'), instant=True)
        for number, text in enumerate(texts, 1)
    ]


def fillings() -> Iterator[dict[str, str]]:
    """Values of the variables, as Grafana would fill them in: each model in its turn."""
    usual = {"__rate_interval": "5m", "__range": "30m", "__interval": "15s", "job": "atoll.*", "instance": ".*"}
    for model in (*MODELS, "broken"):
        yield {**usual, "model": model, "version": ".*", "baseline": "1", "candidate": "2"}


@pytest.fixture(scope="module")
def labels(scraped: Scraped) -> dict[str, set[str]]:
    """The labels of each metric that was scraped."""
    found: dict[str, set[str]] = {}
    for one in scraped.prometheus.ask("series", **{"match[]": '{job=~"atoll.*"}'}):
        found.setdefault(one["__name__"], set()).update(one)
    assert "up" in found
    return found


def evaluate(scraped: Scraped, query: Query, expression: str) -> list[Series]:
    if query.instant or query.label:
        return scraped.prometheus.query(expression)
    return scraped.prometheus.query_range(expression, scraped.start, time.time(), 1)


def numbers(found: list[Series]) -> list[float]:
    """The samples that are numbers: a ratio of nothing is none."""
    samples = [sample for one in found for sample in (one["values"] if "values" in one else [one["value"]])]
    return [value for _, text in samples if math.isfinite(value := float(text))]


@pytest.mark.parametrize("query", [*ALL_QUERIES, *document_queries()], ids=lambda query: query.where)
def test_a_query_names_what_exists_and_finds_it(scraped: Scraped, labels: dict[str, set[str]], query: Query) -> None:
    expressions = list(dict.fromkeys(query.filled(values) for values in fillings()))
    named = names(expressions[0])
    missing = named.metrics.keys() - labels.keys()
    assert not missing, f"the page has no {missing}"
    for metric, used in named.metrics.items():
        assert used <= labels[metric], f"{metric} has no {set(used) - labels[metric]}"
    known = set().union(*(labels[metric] for metric in named.metrics))
    assert named.grouped <= known, f"none of the metrics has {set(named.grouped) - known}"
    found = [one for expression in expressions for one in evaluate(scraped, query, expression)]
    assert found, f"no series: {expressions[0]}"
    assert numbers(found), f"series without samples: {expressions[0]}"
    if query.label:
        assert all(one["metric"].get(query.label) for one in found)


def test_legends_name_labels_that_the_series_have(scraped: Scraped) -> None:
    legends = [
        (target["expr"], set(re.findall(r"{{(\w+)}}", target["legendFormat"])), panel)
        for path in PATHS
        for panel in read(path)["panels"]
        for target in panel.get("targets", [])
    ]
    checked = 0
    for expression, wanted, panel in legends:
        query = Query(panel["title"], expression, instant=True)
        for values in fillings():
            for one in scraped.prometheus.query(query.filled(values)):
                assert wanted <= one["metric"].keys(), f"{panel['title']}: {one['metric']} has not all of {wanted}"
                checked += 1
    assert checked > len(legends)


def test_values_of_the_variables_are_the_models_and_versions(scraped: Scraped) -> None:
    found = {
        query.where: {one["metric"][query.label] for one in scraped.prometheus.query(query.filled(values))}
        for query in ALL_QUERIES
        if query.label
        for values in [next(fillings())]
    }
    assert found["atoll-fleet: variable job"] == {"atoll"}
    assert found["atoll-fleet: variable instance"] == {scraped.server.metrics}
    assert found["atoll-model: variable model"] == {*MODELS, "broken", "gone"}
    assert found["atoll-versions: variable candidate"] == {"1", "2"}


def test_panels_show_of_known_traffic_what_it_was(scraped: Scraped) -> None:
    known = {query.where: query for query in ALL_QUERIES}

    def shown(where: str, model: str) -> float:
        [values] = [values for values in fillings() if values["model"] == model]
        [one] = scraped.prometheus.query(known[where].filled(values))
        return float(one["value"][1])

    assert shown("atoll-model: Error ratio A", "failing") == pytest.approx(1)
    assert shown("atoll-model: Error ratio A", "pair") == 0
    assert 0 < shown("atoll-model: Cache hits A", "cached") < 1
    assert 0 < shown("atoll-model: Share of waiting A", "pair") < 1
    assert 1 <= shown("atoll-model: Mean batch A", "pair") <= 8
    # of version 1 two requests are answered while one is refused, of version 2 one
    assert shown("atoll-versions: Refused A", "pair") == pytest.approx(1 / 3, abs=0.01)
    assert shown("atoll-versions: Refused B", "pair") == pytest.approx(1 / 2, abs=0.01)
    assert shown("atoll-versions: Errors against the baseline A", "pair") == 0
