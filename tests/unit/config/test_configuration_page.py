"""The examples of docs/configuration.md can be read, and the limits and errors that it shows are the real ones."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from atoll.config.json_form import MAX_TEXT
from atoll.config.places import MAX_FIELDS
from atoll.config.platforms import is_platform
from atoll.config.server_config import MAX_ALIGNMENT, read_server_config
from atoll.config.server_records import ServerConfigFile
from atoll.config.written import WHOLE_MODEL, read_written
from atoll.config.yaml_document import MAX_YAML
from atoll.errors import ConfigError

PAGE = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
ENDINGS = {"proto": "pbtxt", "json": "json", "yaml": "yaml"}
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
EXAMPLES = [(ENDINGS[language], text) for language, text in BLOCKS if language in ENDINGS]
ERRORS = next(text for language, text in BLOCKS if text.startswith("failed to read"))


def test_the_page_has_examples() -> None:
    assert {ending for ending, _ in EXAMPLES} == {"pbtxt", "json", "yaml"}


@pytest.mark.parametrize(("ending", "text"), EXAMPLES)
def test_examples_can_be_read(ending: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / f"config.{ending}"
    file.write_text(text)
    if "model_config_list" in text:
        config = read_server_config(file, {})
        assert config.models
        assert config.backends["onnxruntime"]["default-max-batch-size"] == "8"
    else:
        config_of_model = read_written(tmp_path, environment={}).config
        assert config_of_model.max_batch_size or config_of_model.default_model_filename == "model.onnx"


def test_the_three_forms_of_the_first_example_agree(tmp_path: Path) -> None:
    found = []
    for ending in ("json", "yaml"):
        folder = tmp_path / ending
        folder.mkdir()
        (folder / f"config.{ending}").write_text(next(text for one, text in EXAMPLES if one == ending))
        found.append(read_written(folder, environment={}).config)
    assert found[0] == found[1]


def test_the_errors_are_those_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text(
        'backend: "onnxruntime"\nmax_batchsize: 8\ninput [\n'
        '  { name: "image" data_type: TYPE_FLOAT dims: [ 3, 224, 224 ] }\n]\n'
        'default_model_filename: "${RESNET_FILE}"\n'
    )
    with pytest.raises(ConfigError) as caught:
        read_written(tmp_path, environment={})
    assert str(caught.value).replace(str(tmp_path), "models/resnet") == ERRORS.rstrip()


def test_names_and_limits_are_the_real_ones() -> None:
    for limit in (MAX_TEXT, MAX_YAML, MAX_FIELDS, MAX_ALIGNMENT):
        assert str(limit) in PAGE
    for name in WHOLE_MODEL:
        assert f"`{name}`" in PAGE
    records = (
        ServerConfigFile,
        ServerConfigFile.ModelConfigList,
        ServerConfigFile.ModelConfigList.Entry,
        ServerConfigFile.BackendConfig,
        ServerConfigFile.ModelDefaults,
    )
    for record in records:
        for one in fields(record):
            assert re.search(rf"`[\w.…]*\b{one.name}\b[\w.]*`", PAGE), one.name
    section = PAGE[PAGE.index("`platform` may stand") : PAGE.index("## Write it in JSON")]
    for platform in re.findall(r"`(\w+)`", section.split("by Triton's names")[1]):
        assert is_platform(platform), platform
