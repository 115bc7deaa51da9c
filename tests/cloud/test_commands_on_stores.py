"""`atoll validate` and `atoll inspect` on models of an object store."""

from pathlib import Path

import pytest
from tests.cloud.stand_ins import AWS, S3
from tests.unit.models.tiny import scale_model

from atoll.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    return f"--repository-cache-directory={tmp_path / 'cache'}"


def test_validate(s3: S3, cache: str, capsys: Capture) -> None:
    s3.put_all(
        {
            "models/fine/1/model.onnx": scale_model(1),
            "models/broken/1/model.onnx": scale_model(1),
            "models/broken/config.pbtxt": b"max_batchsize: 4",
        }
    )
    assert main(["validate", f"s3://{s3.address}/{s3.bucket}/models", cache]) == 1
    out = capsys.readouterr().out
    assert "fine: ok (version 1)" in out
    assert "config.pbtxt:1:1: max_batchsize: " in out
    assert main(["validate", f"s3://{s3.address}/{s3.bucket}/nothing", cache]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_inspect(s3: S3, cache: str, capsys: Capture) -> None:
    s3.put_all({"models/fine/3/model.onnx": scale_model(1)})
    for ending in ("", "/"):
        assert main(["inspect", f"s3://{s3.address}/{s3.bucket}/models/fine{ending}", cache]) == 0
        assert capsys.readouterr().out.startswith("# fine version 3, for the backend onnxruntime\n")
    assert main(["inspect", f"s3://{s3.address}/{s3.bucket}/models/nope", cache]) == 2
    assert "model 'nope'" in capsys.readouterr().err
