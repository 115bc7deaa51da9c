"""Each framework's file, given to every other backend: which file it is, what it is, and which backend runs it."""

import pytest
from tests.backends.bad_input.model_files import BACKENDS, FORMATS, Frail

from atoll.backends.model_kind import kind_of


@pytest.mark.parametrize("name", FORMATS)
def test_what_the_file_is(frail: Frail, name: str) -> None:
    _, folder = frail.folder()
    kind = kind_of(FORMATS[name].put(folder))
    assert kind is not None
    assert (kind.text, kind.backend) == (FORMATS[name].text, FORMATS[name].backend)


@pytest.mark.parametrize(
    ("name", "backend"),
    [(one.name, backend) for one in FORMATS.values() for backend in BACKENDS if backend != one.backend],
)
def test_another_frameworks_file(frail: Frail, name: str, backend: str) -> None:
    given = FORMATS[name]
    if (name, backend) == ("savedmodel", "openvino"):
        pytest.skip("OpenVINO runs SavedModels")
    model, folder = frail.folder()
    path = given.put(folder, BACKENDS[backend])
    (folder.parent / "config.pbtxt").write_text(f'backend: "{backend}"\n')
    text = frail.refuses(model)
    frail.serves()
    if "needs an NVIDIA GPU" in text and backend == "tensorrt":
        return  # what the file is does not matter then
    assert str(path) in text, text
    assert given.text in text, text
    assert f'set backend: "{given.backend}"' in text, text


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_a_gpu_where_there_is_none(frail: Frail, backend: str) -> None:
    given = next(one for one in FORMATS.values() if one.backend == backend)
    model, folder = frail.folder()
    given.put(folder)
    (folder.parent / "config.pbtxt").write_text(given.config(more="instance_group [{kind: KIND_GPU}]"))
    text = frail.refuses(model)
    frail.serves()
    if "needs an NVIDIA GPU" in text and backend == "tensorrt":
        return
    assert f"instance group {model}_0 of model {model} has kind KIND_GPU but no GPUs are available" in text, text
    assert "\n" not in text.strip()
