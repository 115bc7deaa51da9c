"""Repositories in S3, against moto's server: what is there, what comes to the disk, what a restart downloads."""

from pathlib import Path

import pytest
from tests.cloud.stand_ins import AWS, S3, Opener, contents

from atoll.errors import NotFoundError
from atoll.repositories import object_download

MODEL = {
    "models/m/config.pbtxt": b'name: "m"',
    "models/m/labels.txt": b"a\nb\n",
    "models/m/1/model.onnx": b"one" * 1000,
    "models/m/2/model.onnx": b"two" * 1000,
    "models/m/2/variables/x y%20z\u00fc": b"deep",
}


def here(s3: S3, path: str = "/models") -> str:
    return f"s3://{s3.address}/{s3.bucket}{path}"


def test_a_model_comes_whole(s3: S3, opened: Opener) -> None:
    s3.put_all({**MODEL, "models/other/1/model.onnx": b"o", "models/.git/x": b"hidden", "models/README": b"no model"})
    repository = opened(here(s3))
    assert repository.names() == ["m", "other"]
    found = repository.folder("m")
    expected = {key.removeprefix("models/m/"): data for key, data in MODEL.items()}
    assert contents(found.directory) == expected
    assert repository.files("m").keys() == expected.keys()
    assert found.name == found.directory.name == "m"
    assert found.repository == here(s3)
    assert found.versions == {1: found.directory / "1", 2: found.directory / "2"}


def test_a_whole_bucket_is_a_repository(s3: S3, opened: Opener) -> None:
    repository = opened(here(s3, ""))
    assert repository.names() == []
    s3.put_all({"m/1/model.onnx": b"x"})
    assert repository.names() == ["m"]
    assert contents(repository.folder("m").directory) == {"1/model.onnx": b"x"}


def test_folders_that_consoles_mark(s3: S3, opened: Opener) -> None:
    """An ensemble's version folder is empty: in S3 it is an empty object whose name ends with a slash."""
    markers = {"models/": b"", "models/m/": b"", "models/m/1/": b"", "models/m/2/": b"", "models/m/extra/": b""}
    s3.put_all({**markers, "models/m/config.pbtxt": b"c", "models/m/2/model.onnx": b"x", "models/m/nothing": b""})
    repository = opened(here(s3))
    assert repository.names() == ["m"]
    for _ in range(2):  # the second time from the cache
        found = repository.folder("m")
        assert contents(found.directory) == {"config.pbtxt": b"c", "2/model.onnx": b"x", "nothing": b""}
        assert sorted(found.versions) == [1, 2]
        assert (found.directory / "extra").is_dir()
    assert repository.files("m").keys() == {"1/", "2/model.onnx", "config.pbtxt", "extra", "nothing"}


def test_a_restart_downloads_only_what_changed(s3: S3, opened: Opener) -> None:
    s3.put_all(MODEL)
    progress: list[tuple[str, int, int]] = []
    first = opened(here(s3), on_progress=lambda *step: progress.append(step))
    old = first.folder("m")
    size = sum(map(len, MODEL.values()))
    assert progress[-1] == ("m", size, size)
    assert [done for _, done, _ in progress] == sorted(done for _, done, _ in progress)
    before = first.files("m")
    first.close()

    progress.clear()
    second = opened(here(s3), on_progress=lambda *step: progress.append(step))
    assert second.folder("m").directory == old.directory
    assert not progress
    s3.put_all({"models/m/2/model.onnx": b"new!"})
    new = second.folder("m")
    assert progress == [("m", 4, 4)]
    assert contents(new.directory)["2/model.onnx"] == b"new!"
    after = second.files("m")
    assert {path for path in before if before[path] != after[path]} == {"2/model.onnx"}


def test_a_large_object_comes_in_parts(s3: S3, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_download, "PART_BYTES", 100_001)
    data = bytes(range(256)) * 8000
    s3.put_all({"models/m/1/model.onnx": data, "models/m/1/exact": data[: 2 * 100_001]})
    found = opened(here(s3)).folder("m")
    assert contents(found.directory) == {"1/model.onnx": data, "1/exact": data[: 2 * 100_001]}


def test_an_object_that_was_uploaded_in_parts(s3: S3, opened: Opener) -> None:
    """Its ETag is no digest of its content."""
    target = {"Bucket": s3.bucket, "Key": "models/m/1/model.onnx"}
    upload = s3.client.create_multipart_upload(**target)["UploadId"]
    pieces = [b"a" * (5 << 20), b"b"]
    parts = [
        {
            "PartNumber": number,
            "ETag": s3.client.upload_part(**target, PartNumber=number, UploadId=upload, Body=piece)["ETag"],
        }
        for number, piece in enumerate(pieces, 1)
    ]
    s3.client.complete_multipart_upload(**target, UploadId=upload, MultipartUpload={"Parts": parts})
    repository = opened(here(s3))
    assert repository.files("m")["1/model.onnx"].endswith("-2")
    assert contents(repository.folder("m").directory) == {"1/model.onnx": b"".join(pieces)}


def test_the_servers_own_configuration(s3: S3, opened: Opener) -> None:
    s3.put_all(MODEL)
    repository = opened(here(s3))
    assert repository.server_config() is None
    s3.put_all({"models/config.pbtxt": b"first"})
    first = repository.server_config()
    s3.put_all({"models/config.pbtxt": b"second"})
    second = repository.server_config()
    assert first is not None
    assert second is not None
    assert (first.name, first.read_bytes(), second.read_bytes()) == ("config.pbtxt", b"first", b"second")


def test_an_endpoint_of_the_environment(s3: S3, opened: Opener) -> None:
    s3.put_all(MODEL)
    environment = {**AWS, "AWS_ENDPOINT_URL": f"http://{s3.address}"}
    assert opened(f"s3://{s3.bucket}/models", environment).names() == ["m"]


def test_a_cache_belongs_to_an_endpoint_too(s3: S3, opened: Opener, tmp_path: Path) -> None:
    s3.put_all(MODEL)
    ours = opened(here(s3)).folder("m").directory
    environment = {**AWS, "AWS_ENDPOINT_URL": f"http://{s3.address}"}
    same = opened(f"s3://{s3.bucket}/models", environment).folder("m").directory
    other = opened(f"s3://{s3.bucket}/models", {**AWS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert ours == same
    assert not ours.is_relative_to(other._opened_cache().directory)


def test_what_is_not_there(s3: S3, opened: Opener) -> None:
    s3.put_all(MODEL)
    with pytest.raises(
        NotFoundError, match=r"list of s3://http://[\d.:]+/no-such-bucket/models failed: no such bucket"
    ):
        opened(f"s3://{s3.address}/no-such-bucket/models").names()
    expected = r"model repository 's3://.*/modles': repository path is not a valid directory: .* begins with 'modles/'"
    with pytest.raises(NotFoundError, match=expected):
        opened(here(s3, "/modles")).names()
    with pytest.raises(NotFoundError, match="model 'n' is not in s3://"):
        opened(here(s3)).folder("n")
    with pytest.raises(NotFoundError, match="model 'n' is not in s3://"):
        opened(here(s3)).files("n")


def test_a_repository_whose_last_model_was_deleted_is_empty_and_not_missing(s3: S3, opened: Opener) -> None:
    s3.put_all({"models/m/1/x": b"x"})
    repository = opened(here(s3))
    assert repository.names() == ["m"]
    s3.client.delete_object(Bucket=s3.bucket, Key="models/m/1/x")
    assert repository.names() == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../m", "m/1", ".hidden", "x" * 300, "a\0b"])
def test_names_that_no_model_has(s3: S3, opened: Opener, name: str) -> None:
    s3.put_all(MODEL)
    with pytest.raises(NotFoundError):
        opened(here(s3)).folder(name)
