"""Configurations and rules as promtool judges them, and what people need that an alert has woken."""

import re
from pathlib import Path

import pytest
import yaml
from tests.deploy.expressions import names
from tests.deploy.prometheus import Programs
from tests.deploy.rules import FOLDER, PATHS, Json, rules

UNIT_TESTS = FOLDER / "atoll_test.yml"
DOCUMENT = FOLDER.parents[1] / "docs" / "monitoring.md"
SEVERITIES = {"critical", "warning", "info"}

ALERTS = rules("alert")
every_alert = pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])


def test_promtool_accepts_the_rules(programs: Programs) -> None:
    programs.check("check", "rules", *map(str, PATHS))


def test_promtool_accepts_the_configurations(programs: Programs, tmp_path: Path) -> None:
    for name in ("prometheus.yml", "prometheus-secured.yml"):
        text = (FOLDER / name).read_text()
        (tmp_path / name).write_text(text)
    (tmp_path / "rules").symlink_to(FOLDER / "rules")
    (tmp_path / "atoll-metrics.key").write_text("a key")
    (tmp_path / "atoll-ca.pem").write_text("a certificate")
    assert "2 rule files found" in programs.check("check", "config", "prometheus.yml", folder=tmp_path)
    assert "2 rule files found" in programs.check("check", "config", "prometheus-secured.yml", folder=tmp_path)


def test_promtool_accepts_what_the_document_shows_for_kubernetes(programs: Programs, tmp_path: Path) -> None:
    """Debian builds Prometheus without Kubernetes: a list of targets stands in for its discovery."""
    [block] = [text for text in _yaml_blocks() if "kubernetes_sd_configs" in text]
    config = yaml.safe_load(block)
    [job] = config["scrape_configs"]
    assert job["job_name"].startswith("atoll")
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    job["static_configs"] = [{"targets": ["localhost:8002"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    programs.check("check", "config", "--syntax-only", str(tmp_path / "prometheus.yml"))


def test_rules_of_the_document_are_rules(programs: Programs, tmp_path: Path) -> None:
    found = [text for text in _yaml_blocks() if "alert:" in text]
    assert found
    for number, text in enumerate(found):
        path = tmp_path / f"{number}.yml"
        path.write_text(text)
        programs.check("check", "rules", str(path))


def test_every_alert_fires_where_it_should_and_not_where_it_should_not(programs: Programs) -> None:
    programs.check("test", "rules", UNIT_TESTS.name, folder=FOLDER)


@every_alert
def test_unit_tests_have_the_alert_firing_and_quiet(rule: Json) -> None:
    firing = quiet = False
    for group in yaml.safe_load(UNIT_TESTS.read_text())["tests"]:
        for case in group["promql_expr_test"]:
            patterns = re.findall(r'alertname=~?"([^"]+)"', case["expr"])
            if any(re.fullmatch(pattern, rule["alert"]) for pattern in patterns):
                samples = case.get("exp_samples", [])
                labels = " ".join(one.get("labels", "") for one in samples)
                named = f'alertname="{rule["alert"]}"' in labels or (patterns == [rule["alert"]] and bool(samples))
                firing |= named
                quiet |= not named
        for case in group.get("alert_rule_test", []):
            if case["alertname"] == rule["alert"]:
                firing |= bool(case.get("exp_alerts"))
                quiet |= not case.get("exp_alerts")
    assert firing, "no unit test has it firing"
    assert quiet, "no unit test has it quiet"


@every_alert
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: Json) -> None:
    assert rule["alert"].startswith("Atoll")
    assert rule["labels"]["severity"] in SEVERITIES
    summary, description = rule["annotations"]["summary"], rule["annotations"]["description"]
    assert summary
    assert len(re.findall(r"[.?](?= |$)", description)) >= 2  # what it is, and what to do
    assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{rule['alert'].lower()}"


def test_the_document_has_a_runbook_for_each_alert() -> None:
    headings = re.findall(r"^### (Atoll\w+)$", DOCUMENT.read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(rule["alert"] for rule in ALERTS)


def test_names_are_unique() -> None:
    found = [rule.get("alert") or rule["record"] for rule in [*ALERTS, *rules("record")]]
    assert len(set(found)) == len(found)


def test_what_rules_use_of_other_rules_is_recorded() -> None:
    recorded = {rule["record"] for rule in rules("record")}
    used = {name for rule in [*ALERTS, *rules("record")] for name in names(rule["expr"]).metrics if ":" in name}
    assert used
    assert used <= recorded


def _yaml_blocks() -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
