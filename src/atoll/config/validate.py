"""Everything that is wrong with a configuration by itself, all of it at once.

The messages are the real server's (2.51) wherever it has one for the case; it stops at the first.
"""

from collections.abc import Sequence

from atoll.config.deadline import deadline_problems
from atoll.config.inflight_limit import inflight_limit_problems
from atoll.config.model_config import ModelConfig, ModelInstanceGroup, ModelVersionPolicy
from atoll.config.platforms import backend_of, guess_backend, is_ensemble, is_platform, near_platform
from atoll.config.problems import Problem
from atoll.config.response_cache import cache_problems
from atoll.config.validation.scheduling import scheduling_problems
from atoll.config.validation.tensors import tensor_problems

_SHOWN = 6  # files that an error names


def validate_config(
    config: ModelConfig,
    model_directory_name: str,
    *,
    files: Sequence[str] = (),
    complete: bool = True,
    gpus: Sequence[int] | None = None,
    missing: str = "",
) -> list[Problem]:
    """What is wrong with a configuration, in the order of its fields; warnings are among it.

    `files` are the names in a version's folder, which may tell the backend where the configuration does not.
    `complete` False is for a configuration whose gaps autofill has yet to fill: missing types and dims are then no
    problem. `gpus` are the devices of this machine, None if they are not to be checked; `missing` says why the model
    can be on no others.
    """
    name = config.name or model_directory_name
    problems = [*_identity(config, model_directory_name, files)]
    if config.max_batch_size < 0:
        problems.append(
            Problem(
                "max_batch_size",
                f"'max_batch_size' must be non-negative value for {name}",
                str(config.max_batch_size),
                "0 (no batch dimension) or more",
                "Set it to the largest batch that the model takes.",
            )
        )
    problems += version_policy_problems(config.version_policy, name)
    problems += tensor_problems(config, name, complete)
    problems += scheduling_problems(config, name)
    problems += _instance_groups(config, name, gpus, missing)
    problems += cache_problems(config, name)
    problems += deadline_problems(config, name)
    problems += inflight_limit_problems(config, name)
    return problems


def _identity(config: ModelConfig, directory: str, files: Sequence[str]) -> list[Problem]:
    problems: list[Problem] = []
    if config.name and config.name != directory:
        message = (
            f"unexpected directory name '{directory}' for model '{config.name}', directory name must equal model name"
        )
        remedy = "Rename the directory, or leave the name out of the configuration."
        problems.append(Problem("name", message, f"'{config.name}'", f"'{directory}'", remedy))
    if config.platform and not is_platform(config.platform) and not config.backend:
        near = near_platform(config.platform)
        message = f"unexpected platform type '{config.platform}' for {config.name or directory}"
        remedy = f"Did you mean '{near}'?" if near else 'Name a backend instead, such as backend: "onnxruntime".'
        problems.append(Problem("platform", message, f"'{config.platform}'", "a platform that has a backend", remedy))
    elif not is_ensemble(config) and not backend_of(config) and not guess_backend(files):
        message = (
            f"Invalid model name: Could not determine backend for model '{directory}' with no backend in model "
            "configuration. Expected model name of the form 'model.<backend_name>'."
        )
        remedy = 'Set it, such as backend: "onnxruntime", or give the model file its backend\'s default name.'
        found = f"neither backend nor platform, and as a version's files {', '.join(files[:_SHOWN]) or 'none'}"
        problems.append(Problem("backend", message, found, "one of them", remedy))
    filename = config.default_model_filename
    if filename and _leads_out(filename):
        message = f"the model file of '{config.name or directory}' would lie outside of the model's folder"
        remedy = "Name a file in the version's folder, or one that its versions share above it, such as ../model.onnx."
        path = "default_model_filename"
        problems.append(Problem(path, message, f"'{filename}'", "a file in the model's folder", remedy))
    return problems


def _leads_out(filename: str) -> bool:
    """Whether a path that begins in a version's folder leaves the model's, which is the one above."""
    depth = 1
    for part in filename.split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
        if depth < 0:
            return True
    return filename.startswith("/") or "\0" in filename


def version_policy_problems(
    policy: ModelVersionPolicy | None, name: str, path: str = "version_policy"
) -> list[Problem]:
    """What is wrong with a version policy that stands at this key path."""
    if policy is None:
        return []
    chosen = [one for one in ("latest", "all", "specific") if getattr(policy, one) is not None]
    if len(chosen) > 1:
        remedy = "Keep the one that is meant."
        message = "more than one version policy is set"
        return [Problem(path, message, " and ".join(chosen), "one of them", remedy)]
    message = f"at least one version must be available under the version policy of model '{name}'"
    if policy.latest is not None and policy.latest.num_versions == 0:
        remedy = "Set it to how many of the newest versions to serve."
        return [Problem(f"{path}.latest.num_versions", message, "0", "1 or more", remedy)]
    if policy.specific is not None and not policy.specific.versions:
        remedy = "List them, such as specific { versions: [1, 3] }."
        return [Problem(f"{path}.specific.versions", message, "no versions", "at least one", remedy)]
    return []


# the real server's words; which GPUs can be used is the caller's to say
_GPUS = "GPUs with at least the minimum required CUDA compute compatibility of 6.000000 are"


def _instance_groups(config: ModelConfig, name: str, gpus: Sequence[int] | None, missing: str) -> list[Problem]:
    if is_ensemble(config):
        return _ensemble_extras(config, name)
    kinds = ModelInstanceGroup.Kind
    problems: list[Problem] = []
    names: set[str] = set()
    for index, group in enumerate(config.instance_group):
        path = f"instance_group[{index}]"
        label = f"instance group {group.name or f'{name}_{index}'} of model {name}"

        # called at once, within this turn of the loop
        def add(key: str, message: str, found: object, expected: str, remedy: str, warning: bool = False) -> None:
            problems.append(Problem(f"{path}.{key}", message, str(found), expected, remedy, warning))  # noqa: B023

        if group.count < 0:
            message = f"{label} has a negative count, and is given the default number of instances"
            add("count", message, group.count, "1 or more", "Set how many instances to run.", warning=True)
        if group.name and group.name in names:
            add("name", f"{label} has the name of another group", f"'{group.name}' again", "different names", "", True)
        names.add(group.name)
        kind = group.kind
        if kind is kinds.KIND_AUTO and gpus is not None and not gpus:
            kind = kinds.KIND_CPU  # what it means on this machine
        if group.gpus and kind in (kinds.KIND_CPU, kinds.KIND_MODEL):
            message = f"{label} has kind {kind.name} but specifies one or more GPUs"
            found = f"gpus: {list(group.gpus)}" + (" on a machine without GPUs" if kind is not group.kind else "")
            add("gpus", message, found, "none", "Remove gpus, or use kind: KIND_GPU where there are GPUs.")
        elif gpus is not None and kind in (kinds.KIND_GPU, kinds.KIND_AUTO):
            if kind is kinds.KIND_GPU and not group.gpus and not gpus:
                message = f"{label} has kind KIND_GPU but no GPUs are available"
                remedy = f"Use one of these; {missing}." if missing else "Use one of these."
                add("kind", message, "KIND_GPU", "KIND_CPU or KIND_AUTO on this machine", remedy)
            for position, one in enumerate(group.gpus):
                if one in gpus:
                    continue
                available = ", ".join(map(str, gpus))
                message = f"{label} specifies invalid or unsupported gpu id {one}. {_GPUS}: {available}"
                expected = f"one of {available}" if available else "no GPU: this machine has none"
                remedy = "Name only GPUs that are there." if available else "Remove gpus, and use kind: KIND_CPU."
                remedy = f"{remedy[:-1]}; {missing}." if missing else remedy
                add(f"gpus[{position}]", message, one, expected, remedy)
        if group.profile and backend_of(config) != "tensorrt":
            message = (
                f"{label} and platform {config.platform}".rstrip() + " specifies profile field which is only supported "
                "for TensorRT models"
            )
            add("profile", message, ", ".join(group.profile), "none", "Remove it.")
    return problems


def _ensemble_extras(config: ModelConfig, name: str) -> list[Problem]:
    remedy = "Remove it: the models of its steps have their own."
    problems: list[Problem] = []
    if config.instance_group:
        message = f"instance group should not be specified for ensemble '{name}'"
        problems.append(Problem("instance_group", message, f"{len(config.instance_group)} groups", "none", remedy))
    if config.optimization is not None:
        message = f"optimization should not be specified for ensemble '{name}'"
        problems.append(Problem("optimization", message, "an optimization policy", "none", remedy))
    return problems
