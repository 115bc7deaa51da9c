"""The backend "jax": finds artifacts of jax.export, has them compiled, and hands out instances."""

import threading
from contextlib import suppress
from typing import Any

from atoll.backends.api import Capabilities, GpuSupport, ModelSource, Placement
from atoll.backends.error_text import bounded_text
from atoll.backends.jax.artifact import DEFAULT_MODEL_FILENAME, Artifact, read_artifact
from atoll.backends.jax.instance import JaxInstance
from atoll.backends.jax.programs import Programs, Shapes
from atoll.backends.jax.runtime import Jax, import_jax
from atoll.backends.jax.settings import CompileSettings, compile_settings
from atoll.config.signature import ModelSignature
from atoll.errors import AtollError, ConfigError

_GPU_PLATFORMS = ("cuda", "rocm")


class JaxBackend:
    """Serves model.jax, the bytes of jax.export's `serialize()`. Its parameters are in `settings`."""

    name = "jax"
    capabilities = Capabilities(bounded=True)
    default_model_filename = DEFAULT_MODEL_FILENAME
    default_instance_count = 1

    def signature(self, source: ModelSource) -> ModelSignature:
        """What the artifact says. Raises ConfigError naming the file and the cause where it cannot be read."""
        artifact = read_artifact(source, import_jax())
        _check_platforms(source, artifact)
        return artifact.signature

    def load(self, source: ModelSource) -> "JaxModel":
        """Read the artifact; it is compiled when instances are made, for the devices that they are on.

        Raises ConfigError naming the file, or the parameter and what it may be.
        """
        jax = import_jax()
        artifact = read_artifact(source, jax)
        _check_platforms(source, artifact)
        return JaxModel(jax, source, artifact, compile_settings(source))

    def gpu_support(self, source: ModelSource, gpus: tuple[int, ...]) -> GpuSupport:
        """Those that the artifact was exported for and that the installed JAX sees."""
        jax = import_jax()
        artifact = read_artifact(source, jax)
        platforms = ", ".join(artifact.exported.platforms)
        if not set(_GPU_PLATFORMS) & set(artifact.exported.platforms):
            return GpuSupport(
                missing=f"'{artifact.path}' was exported for {platforms}; export it with "
                "platforms=['cpu', 'cuda'] to run it on GPUs"
            )
        seen = {one.id for one in _gpus(jax)}
        if not seen:
            return GpuSupport(missing=f'JAX {jax.version} finds no GPU; install it with: pip install "jax[cuda12]"')
        return GpuSupport(gpus=tuple(one for one in gpus if one in seen))


class JaxModel:
    """An artifact, and what was compiled of it: for each device, programs that its instances share."""

    def __init__(self, jax: Jax, source: ModelSource, artifact: Artifact, settings: CompileSettings):
        self._jax = jax
        self._name = source.name
        self._artifact = artifact
        self.signature = artifact.signature
        self._settings = settings
        self._lock = threading.Lock()
        self._devices: dict[Any, Programs] = {}
        batches = source.config.max_batch_size > 0
        self._sizes = settings.batch_sizes if batches else ()
        self._known = _known_shapes(artifact, self._sizes, batches) if settings.at_load else []
        # While everything that it can be asked for is compiled, an execution is all that a request waits for.
        self.bounded = bool(self._known)

    def instance(self, placement: Placement) -> JaxInstance:
        """A context there; the first one on a device waits until all is compiled that can be known beforehand.

        Raises ConfigError where the artifact is not for such a device, or XLA cannot compile it.
        """
        device = self._device(placement)
        with self._lock:
            programs = self._devices.get(device)
            if programs is None:
                programs = Programs(self._jax, self._artifact, device, self._settings.most)
                self._compile(programs)
                self._devices[device] = programs
        return JaxInstance(self._artifact, programs, self._sizes)

    def close(self) -> None:
        """Free the programs and the weights."""
        for programs in self._devices.values():
            programs.close()
        self._devices.clear()
        # A cache of JAX's own keeps the exported function until enough others have come by. Clearing it would slow down
        # whatever else in the process uses JAX; without the module, which holds the weights, little is kept.
        with suppress(Exception):
            object.__setattr__(self._artifact.exported, "mlir_module_serialized", b"")

    def _compile(self, programs: Programs) -> None:
        for shapes in self._known:
            try:
                programs.keep(shapes)
            except AtollError:
                raise
            except Exception as error:
                sizes = (
                    "; the batch sizes that are compiled are those of the parameter 'batch_sizes' "
                    f"({', '.join(map(str, self._sizes))})"
                    if self._sizes
                    else ""
                )
                raise ConfigError(
                    f"failed to load model '{self._name}' from '{self._artifact.path}': it does not compile for inputs "
                    f"of {_text(shapes)}: {bounded_text(error)}{sizes}"
                ) from error

    def _device(self, placement: Placement) -> Any:
        platforms = self._artifact.exported.platforms
        if placement.kind != "KIND_GPU":
            if "cpu" not in platforms:
                raise ConfigError(
                    f"instance '{placement.name}': '{self._artifact.path}' was exported for {', '.join(platforms)}, "
                    "and the instance is on the CPU; use kind: KIND_GPU in its instance_group, or export it with "
                    "platforms=['cpu']"
                )
            return self._jax.module.devices("cpu")[0]
        for device in _gpus(self._jax):
            if device.id == placement.device_id:
                return device
        raise ConfigError(
            f"instance '{placement.name}': JAX {self._jax.version} finds no GPU {placement.device_id}; "
            'install it with: pip install "jax[cuda12]", or use kind: KIND_CPU in its instance_group'
        )


def _check_platforms(source: ModelSource, artifact: Artifact) -> None:
    platforms = artifact.exported.platforms
    if not {"cpu", *_GPU_PLATFORMS} & set(platforms):
        raise ConfigError(
            f"model '{source.name}': '{artifact.path}' was exported for {', '.join(platforms)}, and instances run on "
            "CPUs and GPUs; export it with platforms=['cpu'], ['cuda'] or both"
        )


def _gpus(jax: Jax) -> list[Any]:
    try:
        return list(jax.module.devices("gpu"))
    except RuntimeError:  # JAX's word for none
        return []


def _known_shapes(artifact: Artifact, sizes: tuple[int, ...], batches: bool) -> list[Shapes]:
    """All the shapes that inputs can come in; none where they cannot be known beforehand."""
    inputs = [one.shape or () for one in artifact.signature.inputs]
    if not artifact.has_fixed_rows:
        return []
    if not artifact.signature.batching:
        return [tuple(inputs)]
    return [tuple((size, *shape[1:]) for shape in inputs) for size in sizes] if batches else []


def _text(shapes: Shapes) -> str:
    return ", ".join(f"[{','.join(map(str, one))}]" for one in shapes)
