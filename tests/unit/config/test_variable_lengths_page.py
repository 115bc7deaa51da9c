"""The examples of docs/variable-lengths.md are configurations in which nothing is wrong, and do what the page says."""

import re
from pathlib import Path

from atoll.config.model_config import ModelConfig
from atoll.config.padding import read_padding
from atoll.config.textproto import read_config_text
from atoll.config.validate import validate_config

PAGE = (Path(__file__).parents[3] / "docs" / "variable-lengths.md").read_text()
EXAMPLES = re.findall(r"^```proto\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def example(word: str) -> ModelConfig:
    (text,) = [one for one in EXAMPLES if word in one]
    if "backend" not in text:  # a part of a configuration
        text += 'backend: "python" max_batch_size: 8'
    config = read_config_text(text, "m/config.pbtxt")
    assert validate_config(config, "m") == []
    return config


def test_python_models_need_one_line() -> None:
    assert example('"TEXT"').input[0].allow_ragged_batch


def test_the_ragged_model() -> None:
    config = example('"BOUNDS"')
    assert config.batch_input[0].source_input == ("VALUES",)
    assert config.batch_output[0].target_name == ("DOUBLED",)


def test_the_padded_model() -> None:
    padding = read_padding(example("attention_mask"))
    assert [made.name for _, made, _ in padding.made_inputs()] == ["attention_mask"]
    assert padding.outputs["last_hidden_state"].sources == ("input_ids",)
    assert padding.inputs["input_ids"].buckets == ((32, 64, 128, 256, 512),)
