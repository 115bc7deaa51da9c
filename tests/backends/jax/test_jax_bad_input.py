"""Artifacts that cannot be served: what is wrong, and what to do about it."""

import dataclasses
import random
from typing import Any

import pytest
from tests.fresh_python import run_code

from atoll.backends.api import Placement
from atoll.backends.loading import load_model
from atoll.errors import ConfigError
from atoll.tensor import DataType


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"PK\x03\x04" + bytes(50), "ZIP"),
        (b"\x80\x04K\x01.", "a Python pickle"),
        (bytes(range(200)), "no artifact of jax.export"),
    ],
)
def test_other_files_are_told_by_what_they_are(models: Any, content: bytes, words: str) -> None:
    source = models.file(content)
    with pytest.raises(ConfigError) as refusal:
        models.backend.signature(source)
    assert words in str(refusal.value)
    assert "1/model.jax" in str(refusal.value)


def test_a_missing_file_is_named_with_those_that_may_be_meant(models: Any) -> None:
    source = models.file(b"x", "other.jax")
    with pytest.raises(ConfigError, match=r"unable to find .*model\.jax.*found other\.jax"):
        models.backend.signature(source)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.99])
def test_an_artifact_that_is_cut_off_is_refused(models: Any, share: float) -> None:
    content = bytes(models.exported(lambda x: x + 1, models.spec("b, 4")).serialize())
    source = models.file(content[: int(len(content) * share)])
    with pytest.raises(ConfigError, match="cut off, damaged"):
        models.backend.load(source)


def test_an_artifact_of_another_calling_convention_names_both_versions(models: Any) -> None:
    exported = models.exported(lambda x: x + 1, models.spec("b, 4"))
    for version, remedy in ((99, "upgrade JAX"), (1, "export it again")):
        other = dataclasses.replace(exported, calling_convention_version=version)
        with pytest.raises(ConfigError, match=rf"has version {version} of .* runs versions \d+ to \d+: {remedy}"):
            models.backend.signature(models.file(bytes(other.serialize())))


def test_an_artifact_for_several_devices_is_refused(models: Any) -> None:
    exported = dataclasses.replace(models.exported(lambda x: x + 1, models.spec("b, 4")), nr_devices=8)
    with pytest.raises(ConfigError, match="exported for 8 devices"):
        models.backend.signature(models.file(bytes(exported.serialize())))


@pytest.mark.parametrize("dtype", ["complex64", "float8_e4m3fn", "int4"])
def test_types_without_a_name_in_the_protocol_are_refused(models: Any, dtype: str) -> None:
    source = models.write(lambda x: x, models.spec("b", dtype))
    with pytest.raises(ConfigError, match=f"input 'INPUT__0' of .* is of type {dtype}.*convert it"):
        models.backend.signature(source)


def test_a_key_for_random_numbers_is_no_tensor(models: Any) -> None:
    import jax

    key = jax.eval_shape(lambda: jax.random.key(0))
    with pytest.raises(ConfigError, match=r"input 'INPUT__0' .*key<"):
        models.backend.signature(models.write(lambda key: jax.random.normal(key, (2,)), key))


def test_two_tensors_of_one_name_are_refused(models: Any) -> None:
    source = models.write(lambda x: {"a.b": x, "a": {"b": x}}, models.spec("b"))
    with pytest.raises(ConfigError, match=r"two outputs of .* would be named 'a\.b'"):
        models.backend.signature(source)


def test_an_artifact_for_tpus_is_refused(models: Any) -> None:
    source = models.write(lambda x: x, models.spec("b"), platforms=["tpu"])
    with pytest.raises(ConfigError, match="exported for tpu"):
        models.backend.signature(source)


def test_an_artifact_for_gpus_is_not_run_on_a_cpu(models: Any) -> None:
    source = models.configured(models.write(lambda x: x, models.spec("b"), platforms=["cuda"]))
    model = models.backend.load(source)
    with pytest.raises(ConfigError, match=r"instance 'm_0'.*exported for cuda.*kind: KIND_GPU"):
        model.instance(Placement("m_0"))


def test_which_gpus_can_be_used_is_the_artifacts_and_the_installations_say(models: Any) -> None:
    found = models.backend.gpu_support(models.write(lambda x: x, models.spec("b")), (0,))
    assert found.gpus == ()
    assert "was exported for cpu" in found.missing
    source = models.write(lambda x: x, models.spec("b"), platforms=["cpu", "cuda"])
    assert "finds no GPU" in models.backend.gpu_support(source, (0,)).missing
    model = models.backend.load(models.configured(source))
    with pytest.raises(ConfigError, match=r"finds no GPU 0.*kind: KIND_CPU"):
        model.instance(Placement("m_0", kind="KIND_GPU"))


def test_conditions_on_the_batch_size_are_told_with_the_parameter_that_meets_them(models: Any) -> None:
    import jax
    from jax import export

    (b,) = export.symbolic_shape("b", constraints=["b >= 4"])
    source = models.write(lambda x: x + 1, jax.ShapeDtypeStruct((b, 2), "float32"))
    model = models.backend.load(models.configured(source, max_batch_size=8))
    with pytest.raises(ConfigError, match=r"does not compile for inputs of \[1,2\].*'batch_sizes'"):
        model.instance(Placement("m_0"))
    model = models.backend.load(models.configured(source, {"batch_sizes": "4"}, max_batch_size=8))
    model.instance(Placement("m_0"))


@pytest.mark.parametrize("text", ["0", "1,x", "9", "-1", ",", "1 2"])
def test_wrong_batch_sizes_are_refused(models: Any, text: str) -> None:
    source = models.write(lambda x: x, models.spec("b"))
    with pytest.raises(ConfigError, match=r"parameter 'batch_sizes' .* from 1 to max_batch_size"):
        models.backend.load(models.configured(source, {"batch_sizes": text}, max_batch_size=8))


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("output", {"name": "OTHER"}, "unexpected inference output 'OTHER', allowed outputs are: OUTPUT__0"),
        ("input", {"data_type": DataType.INT8}, "unexpected datatype TYPE_INT8 .* expecting TYPE_FP32"),
        ("input", {"dims": (-1, 3)}, r"shape \[-1,2\].*\[-1,3\]"),
    ],
)
def test_a_configuration_that_disagrees_is_refused_without_completion_too(
    models: Any, part: str, changes: dict[str, Any], words: str
) -> None:
    source = models.configured(models.write(lambda x: x, models.spec("b, 2")))
    tensor = dataclasses.replace(getattr(source.config, part)[0], **changes)
    config = dataclasses.replace(source.config, **{part: (tensor,)})
    with pytest.raises(ConfigError, match=words):
        load_model(models.backend, dataclasses.replace(source, config=config))


def test_damaged_bytes_never_end_the_process(models: Any) -> None:
    """Each damaged artifact is read, and compiled where that is possible, in one other process."""
    content = bytes(models.exported(lambda x: x @ x.T + 1, models.spec("b, 4")).serialize())
    generator = random.Random(7)
    folder = models.root / "damaged"
    folder.mkdir()
    for number in range(60):
        damaged = bytearray(content)
        for _ in range(generator.choice((1, 3, 10))):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        (folder / f"{number}.jax").write_bytes(damaged)
    code = """
        import sys, dataclasses
        from pathlib import Path
        from atoll.backends.api import ModelSource, Placement
        from atoll.backends.jax import JaxBackend
        from atoll.config.model_config import ModelConfig
        from atoll.errors import AtollError
        folder, backend = Path(sys.argv[1]), JaxBackend()
        for file in sorted(folder.glob("*.jax")):
            config = ModelConfig(name="m", backend="jax", default_model_filename=file.name, max_batch_size=1)
            source = ModelSource("m", 1, folder, folder, config)
            try:
                backend.load(source).instance(Placement("m_0"))
                print("compiled")
            except AtollError as error:
                print(type(error).__name__)
    """
    answers = run_code(code, str(folder), env={"JAX_PLATFORMS": "cpu"}).stdout.split()
    assert len(answers) == 60
    assert set(answers) <= {"ConfigError", "compiled"}
    assert answers.count("ConfigError") > 20


def test_instances_are_on_the_device_that_their_placement_names() -> None:
    """With two of the CPU's devices in the place of GPUs, as JAX can make them."""
    code = """
        import jax, numpy as np
        from jax import export
        from pathlib import Path
        from atoll.backends.jax.artifact import Artifact
        from atoll.backends.jax.programs import Programs
        from atoll.backends.jax.runtime import import_jax
        from atoll.config.signature import ModelSignature
        exported = export.export(jax.jit(lambda x: x + 1))(jax.ShapeDtypeStruct((3,), "float32"))
        artifact = Artifact(Path(), exported, ModelSignature(inputs=(), outputs=()))
        for device in jax.devices():
            programs = Programs(import_jax(), artifact, device, 4)
            (out,) = programs.run(programs.find(((3,),)), [np.zeros(3, np.float32)])
            assert out.devices() == {device}, (out.devices(), device)
        print(len(jax.devices()))
    """
    two = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    assert run_code(code, env=two).stdout.split() == ["2"]
