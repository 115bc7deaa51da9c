"""--trace-config: what it means, and what is refused with the reason."""

import logging
from pathlib import Path

import pytest

from atoll.errors import InvalidArgumentError
from atoll.observability.tracing.export_settings import ExportSettings
from atoll.observability.tracing.options import trace_settings
from atoll.observability.tracing.settings import TraceSettings


def test_nothing_is_off() -> None:
    assert trace_settings([]) == TraceSettings()
    assert not trace_settings([]).samples


def test_all_of_it(tmp_path: Path) -> None:
    file = str(tmp_path / "a b.json")
    settings = trace_settings(
        [
            *("level=tensors", "level=TIMESTAMPS", "rate=5", "rate=7", "count=3", "mode=triton"),
            *(f"TRITON,file={file}", "triton,log-frequency=9"),
        ]
    )
    assert settings == TraceSettings(("TIMESTAMPS", "TENSORS"), 7, 3, 9, file)
    assert settings.samples


def test_off_does_not_switch_off_what_another_level_switches_on(tmp_path: Path) -> None:
    file = f"triton,file={tmp_path / 'a'}"
    assert trace_settings(["level=TIMESTAMPS", "level=OFF", file]).levels == ("TIMESTAMPS",)


@pytest.mark.parametrize("level", ["MIN", "max"])
def test_deprecated_levels_are_timestamps(level: str, tmp_path: Path) -> None:
    assert trace_settings([f"level={level}", f"triton,file={tmp_path / 'a'}"]).levels == ("TIMESTAMPS",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected KEY=VALUE"),
        ("level", "expected KEY=VALUE"),
        ("level=", "expected KEY=VALUE"),
        ("triton,file=", "expected KEY=VALUE"),
        ("triton,=x", "expected KEY=VALUE"),
        ("level=BAD", "expected OFF, TIMESTAMPS or TENSORS"),
        ("level=TIMESTAMPS,TENSORS", "expected OFF, TIMESTAMPS or TENSORS"),
        ("rate=x", "expected a whole number"),
        ("rate=10000000000", "expected a whole number"),
        ("count=-2", "Expecting value >= -1"),
        ("mode=foo", "triton and opentelemetry"),
        ("opentelemetry,url=file:///x", "expected a URL"),
        ("opentelemetry,url=http://", "expected a URL"),
        ("opentelemetry,resource=name", "expected NAME=VALUE"),
        ("opentelemetry,bsp_max_queue_size=0", "expected a whole number from 1 to 1000000"),
        ("opentelemetry,bsp_schedule_delay=-5", "expected a whole number from 1"),
        ("opentelemetry,bsp_max_export_batch_size=x", "expected a whole number"),
        ("file=/tmp/x", "there is no 'file' here; there are level, rate, count, mode"),
        ("triton,level=TIMESTAMPS", "there is no 'level' here; there are file, log-frequency"),
        ("opentelemetry,file=/x", "there is no 'file' here; there are url, resource"),
        ("other,file=/x", "the modes are triton and opentelemetry"),
        ("triton,log-frequency=x", "expected a whole number"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said.replace("(", r"\(")):
        trace_settings([text])


def test_a_file_that_could_not_be_written_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="there is no folder"):
        trace_settings(["level=TIMESTAMPS", f"triton,file={tmp_path / 'nowhere' / 'a.json'}"])
    with pytest.raises(InvalidArgumentError, match="it is a folder"):
        trace_settings(["level=TIMESTAMPS", f"triton,file={tmp_path}"])


def test_a_level_without_a_file_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        settings = trace_settings(["level=TIMESTAMPS"])
    assert not settings.samples
    assert "add --trace-config=triton,file=PATH" in caplog.text


def test_settings_of_the_other_mode_say_that_they_have_no_effect(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        trace_settings(["opentelemetry,url=localhost:4318/v1/traces", "opentelemetry,resource=service.name=x"])
    assert caplog.text.count("has no effect") == 2


def test_of_what_is_exported_everything_can_be_said() -> None:
    texts = ["mode=opentelemetry", "level=TIMESTAMPS", "opentelemetry,url=collector:4318/v1/traces"]
    texts += [f"opentelemetry,resource={one}" for one in ("service.name=vision", "team=a=b")]
    texts += ["opentelemetry,bsp_max_queue_size=7", "opentelemetry,bsp_schedule_delay=9"]
    export = trace_settings(texts, {"OTEL_BSP_MAX_QUEUE_SIZE": "5", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "3"}).export
    assert export == ExportSettings("collector:4318/v1/traces", ("service.name=vision", "team=a=b"), 7, 9, 3)
    assert export.attributes({}) == {"service.name": "vision", "team": "a=b"}


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(InvalidArgumentError, match="OTEL_BSP_SCHEDULE_DELAY=soon: expected a whole number"):
        trace_settings(["mode=opentelemetry"], {"OTEL_BSP_SCHEDULE_DELAY": "soon"})
    trace_settings(["mode=triton"], {"OTEL_BSP_SCHEDULE_DELAY": "soon"})


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, {"service.name": "triton-inference-server"}),
        ({"OTEL_SERVICE_NAME": "x"}, {}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=b,service.name=x"}, {}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=b"}, {"service.name": "triton-inference-server"}),
    ],
)
def test_the_service_has_a_name_where_nobody_gives_it_one(environment: dict[str, str], named: dict[str, str]) -> None:
    assert ExportSettings().attributes(environment) == named


def test_settings_are_shown_as_the_real_server_shows_them_and_without_passwords() -> None:
    settings = trace_settings(["mode=opentelemetry", "opentelemetry,url=https://me:secret@c:1/v1/traces"], {})
    assert settings.document() == {
        "trace_level": ["OFF"],
        "trace_rate": "1000",
        "trace_count": "-1",
        "trace_mode": "opentelemetry",
        "url": "https://c:1/v1/traces",
        "bsp_schedule_delay": "5000",
        "bsp_max_export_batch_size": "512",
        "bsp_max_queue_size": "2048",
    }


def test_no_level_is_told_where_traces_are_to_be_exported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        trace_settings(["mode=opentelemetry", "triton,log-frequency=2"], {})
    assert "add --trace-config=level=TIMESTAMPS" in caplog.text
    assert "--trace-config=triton,log-frequency=2 has no effect: the mode of the traces is opentelemetry" in caplog.text
