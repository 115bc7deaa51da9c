"""One configuration over another, field by field."""

import pytest

from atoll.config.model_config import ModelConfig
from atoll.config.overlay import overlay
from atoll.config.textproto import read_config_text, write_config_text


def config(text: str) -> ModelConfig:
    return read_config_text(text, "f")


@pytest.mark.parametrize(
    ("base", "override", "merged"),
    [
        ("max_batch_size: 8", "", "max_batch_size: 8"),
        ("max_batch_size: 8", "max_batch_size: 4", "max_batch_size: 4"),
        ("input { name: 'a' } input { name: 'b' }", "input { name: 'c' }", "input { name: 'c' }"),
        (
            "optimization { graph { level: 1 } priority: PRIORITY_MAX }",
            "optimization { graph { level: 2 } eager_batching: true }",
            "optimization { graph { level: 2 } priority: PRIORITY_MAX eager_batching: true }",
        ),
        (
            "metric_tags { key: 'a' value: '1' } metric_tags { key: 'b' value: '2' }",
            "metric_tags { key: 'b' value: '3' } metric_tags { key: 'c' value: '4' }",
            "metric_tags [ { key: 'a' value: '1' }, { key: 'b' value: '3' }, { key: 'c' value: '4' } ]",
        ),
        ("version_policy { latest { num_versions: 2 } }", "version_policy { all {} }", "version_policy { all {} }"),
        (
            "dynamic_batching { preserve_ordering: true }",
            "sequence_batching { oldest { preserve_ordering: true } }",
            "sequence_batching { oldest { preserve_ordering: true } }",
        ),
        (
            "dynamic_batching { preserve_ordering: true priority_levels: 2 }",
            "dynamic_batching { priority_levels: 3 }",
            "dynamic_batching { preserve_ordering: true priority_levels: 3 }",
        ),
        ("platform: 'onnxruntime_onnx'", "backend: 'python'", "backend: 'python'"),
        ("backend: 'python'", "platform: 'onnxruntime_onnx'", "platform: 'onnxruntime_onnx'"),
        ("platform: 'onnxruntime_onnx'", "max_batch_size: 1", "platform: 'onnxruntime_onnx' max_batch_size: 1"),
    ],
)
def test_what_is_on_top_wins(base: str, override: str, merged: str) -> None:
    assert overlay(config(base), config(override)) == config(merged)


def test_what_is_written_counts_at_its_default_too() -> None:
    base = config("max_batch_size: 8 model_transaction_policy { decoupled: true } instance_group { count: 2 }")
    override = config("model_transaction_policy { decoupled: false }")
    assert overlay(base, override) == base
    written = {"max_batch_size", "model_transaction_policy.decoupled", "instance_group"}
    assert write_config_text(overlay(base, override, written)) == "model_transaction_policy {\n}\n"


def test_neither_is_changed() -> None:
    base, override = config("metric_tags { key: 'a' value: '1' }"), config("metric_tags { key: 'a' value: '2' }")
    overlay(base, override)
    assert base.metric_tags == {"a": "1"}
    assert override.metric_tags == {"a": "2"}
