"""A real Prometheus and a live server: by the shipped configurations it is scraped, and the rules see what happens."""

import math
import subprocess
import sys
from pathlib import Path

from tests.conformance.models import write_onnx_repository
from tests.conformance.process import start_atoll
from tests.deploy.conftest import Scraped, shipped_config
from tests.deploy.expressions import names
from tests.deploy.live import send_failing
from tests.deploy.prometheus import Programs, PrometheusServer
from tests.deploy.rules import rules

HISTOGRAMS = (
    "atoll_inference_request_duration_seconds",
    "atoll_inference_queue_duration_seconds",
    "atoll_inference_compute_duration_seconds",
    "atoll_inference_batch_size",
)


def test_the_target_is_up(scraped: Scraped) -> None:
    [target] = scraped.prometheus.targets("atoll")
    assert (target["health"], target["lastError"]) == ("up", "")
    assert target["labels"] == {"instance": scraped.server.metrics, "job": "atoll"}
    assert scraped.prometheus.query('up{job="atoll"}')[0]["value"][1] == "1"
    assert not scraped.prometheus.query('scrape_samples_post_metric_relabeling{job="atoll"} < 100')


def test_quantiles_of_the_histograms_can_be_asked_for(scraped: Scraped) -> None:
    for histogram in HISTOGRAMS:
        found = scraped.prometheus.query(
            f'histogram_quantile(0.99, sum by (model, version, le) (rate({histogram}_bucket{{model="pair"}}[5m])))'
        )
        assert {one["metric"]["version"] for one in found} == {"1", "2"}
        assert all(0 < float(one["value"][1]) < math.inf for one in found), histogram


def test_a_histogram_counts_what_the_counter_counts(scraped: Scraped) -> None:
    """Both of one scrape."""
    differences = scraped.prometheus.query(
        "atoll_inference_request_duration_seconds_count - nv_inference_request_success"
    )
    assert len(differences) >= 5
    assert {one["value"][1] for one in differences} == {"0"}


def test_rules_are_evaluated_over_what_the_server_tells(scraped: Scraped) -> None:
    groups = scraped.prometheus.ask("rules")["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert len(found) == len(rules("alert")) + len(rules("record"))
    assert [(rule["name"], rule.get("lastError", "")) for rule in found if rule["health"] != "ok"] == []


def test_rules_name_what_the_server_has(scraped: Scraped) -> None:
    known = set(scraped.prometheus.ask("label/__name__/values"))
    used = {name for rule in [*rules("alert"), *rules("record")] for name in names(rule["expr"]).metrics}
    assert len(used) > 10
    assert used <= known


def test_recording_rules_record_the_versions(scraped: Scraped) -> None:
    for rule in rules("record"):
        scraped.prometheus.wait(
            lambda name=rule["record"]: any(  # type: ignore[misc]
                one["metric"].get("model") == "pair" and math.isfinite(float(one["value"][1]))
                for one in scraped.prometheus.query(name)
            ),
            rule["record"],
        )


def test_alerts_see_the_model_that_does_not_load_and_the_one_that_fails(scraped: Scraped) -> None:
    def raised(state: str) -> set[tuple[str, str]]:
        found = scraped.prometheus.query(f'ALERTS{{alertstate="{state}"}}')
        return {(one["metric"]["alertname"], one["metric"].get("model", "")) for one in found}

    send_failing(scraped.server, 60)
    wanted = {("AtollModelUnavailable", "broken"), ("AtollErrorRatioHigh", "failing")}
    scraped.prometheus.wait(lambda: wanted <= raised("pending"), "alerts about broken and failing models")
    scraped.prometheus.wait(lambda: ("AtollModelLoadFailed", "broken") in raised("firing"), "a firing alert")
    both = raised("pending") | raised("firing")
    assert not {name for name, _ in both} & {"AtollServerDown", "AtollNoServers", "AtollServerNotReady"}
    assert {model for name, model in both if name.startswith("AtollModel")} == {"broken"}


def test_a_server_with_keys_and_tls_is_scraped_by_the_secured_configuration(programs: Programs, tmp_path: Path) -> None:
    write_onnx_repository(tmp_path / "models", "simple")
    certificate, private = tmp_path / "server.pem", tmp_path / "server.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(private), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    keys = tmp_path / "keys.yaml"
    key = subprocess.run(
        [sys.executable, "-m", "atoll", "key", "prometheus", "--file", str(keys), "--scopes", "metrics"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.strip()
    tls = ("--metrics-use-ssl", f"--http-server-cert={certificate}", f"--http-server-key={private}")
    with start_atoll(tmp_path / "models", tmp_path / "log", f"--api-key-file={keys}", *tls) as server:
        config = shipped_config("prometheus-secured.yml", tmp_path, server.metrics)
        (config.parent / "atoll-metrics.key").write_text("wrong")
        (config.parent / "atoll-ca.pem").write_bytes(certificate.read_bytes())
        with PrometheusServer(programs, config, tmp_path / "prometheus") as prometheus:

            def health() -> list[str]:
                return [one["health"] for one in prometheus.targets("atoll")]

            prometheus.wait(lambda: health() == ["down"], "a refused scrape")
            assert "401" in prometheus.targets("atoll")[0]["lastError"]
            (config.parent / "atoll-metrics.key").write_text(key)  # read anew for each scrape
            prometheus.wait(lambda: health() == ["up"], "a scrape with the key")
            assert prometheus.query('nv_inference_request_success{model="simple"}')
