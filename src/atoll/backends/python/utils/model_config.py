"""`ModelConfig`: what `auto_complete_config` may change of a model's configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_TENSOR_KEYS = {"input": ("name", "data_type", "dims", "optional"), "output": ("name", "data_type", "dims")}
_REQUIRED = ("name", "data_type", "dims")


class ModelConfig:
    """A model's configuration, as `auto_complete_config` gets it and gives it back.

    What the configuration file says wins: a change that contradicts it raises ValueError, with the real module's words.
    """

    def __init__(self, model_config: str):
        """`model_config` is the configuration as the text of a JSON object."""
        self._model_config: dict[str, Any] = json.loads(model_config)

    def as_dict(self) -> dict[str, Any]:
        """The configuration as it stands; treat it as read-only."""
        return self._model_config

    @property
    def _name(self) -> str:
        return str(self._model_config["name"])

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """How large batches may be; 0: the model does no batching. Raises ValueError where the file says more."""
        written = self._model_config["max_batch_size"]
        if written > max_batch_size:
            raise ValueError(
                f"configuration specified max_batch_size {written}, but in auto-complete-config function for model "
                f"'{self._name}' specified max_batch_size {max_batch_size}"
            )
        self._model_config["max_batch_size"] = max_batch_size

    def set_dynamic_batching(self) -> None:
        """Batch requests dynamically. Raises ValueError where the file chooses another scheduler."""
        for scheduler in ("sequence_batching", "ensemble_scheduling"):
            if scheduler in self._model_config:
                raise ValueError(
                    f"Configuration specified scheduling_choice as '{scheduler}', but auto-complete-config function "
                    f"for model '{self._name}' tries to set scheduling_choice as 'dynamic_batching'"
                )
        self._model_config.setdefault("dynamic_batching", {})

    def add_input(self, input: Mapping[str, Any]) -> None:
        """Add an input: "name", "data_type" ("TYPE_FP32"), "dims" (without the batch dimension) and, if it may be left
        out of requests, "optional". Raises ValueError for other keys, missing ones, and where the file says otherwise.
        """
        self._add("input", input)

    def add_output(self, output: Mapping[str, Any]) -> None:
        """Add an output: "name", "data_type" and "dims", as for `add_input`."""
        self._add("output", output)

    def set_model_transaction_policy(self, transaction_policy_dict: Mapping[str, Any]) -> None:
        """`{"decoupled": True}`: any number of responses a request. Raises ValueError for other keys, and where the
        file says otherwise.
        """
        if any(key != "decoupled" for key in transaction_policy_dict):
            raise ValueError(
                f"model transaction property in auto-complete-config function for model '{self._name}' contains "
                "property other than 'decoupled'."
            )
        policy = self._model_config.setdefault("model_transaction_policy", {})
        if "decoupled" not in transaction_policy_dict:
            return
        decoupled = transaction_policy_dict["decoupled"]
        if policy.get("decoupled", decoupled) != decoupled:
            raise ValueError(
                f"trying to change decoupled property in auto-complete-config for model '{self._name}', which is "
                f"already set to '{policy['decoupled']}'."
            )
        policy["decoupled"] = decoupled

    def _add(self, kind: str, tensor: Mapping[str, Any]) -> None:
        self._check_keys(kind, tensor)
        for written in self._model_config[kind]:
            if written["name"] == tensor["name"]:
                self._check_agreement(kind, written, tensor)
                written.update(tensor)
                return
        self._model_config[kind].append(tensor)

    def _check_keys(self, kind: str, tensor: Mapping[str, Any]) -> None:
        where = f"in auto-complete-config function for model '{self._name}'"
        if "name" not in tensor:
            raise ValueError(f"{kind} {where} is missing 'name' property.")
        allowed = _TENSOR_KEYS[kind]
        if any(key not in allowed for key in tensor):
            *first, last = (f"'{key}'" for key in allowed)
            raise ValueError(
                f"{kind} '{tensor['name']}' {where} contains property other than {', '.join(first)} and {last}."
            )
        for key in _REQUIRED:
            if key not in tensor:
                raise ValueError(f"{kind} '{tensor['name']}' {where} is missing '{key}' property.")

    def _check_agreement(self, kind: str, written: Mapping[str, Any], tensor: Mapping[str, Any]) -> None:
        model, name = self._name, tensor["name"]
        if written["data_type"] not in ("TYPE_INVALID", tensor["data_type"]):
            raise ValueError(
                f"unable to load model '{model}', configuration expects datatype {written['data_type']} for "
                f"{kind} '{name}', model provides {tensor['data_type']}"
            )
        for key in ("dims", "optional"):
            if key == "dims" and not written["dims"]:
                continue
            if key in written and key in tensor and written[key] != tensor[key]:
                raise ValueError(
                    f"model '{model}', tensor '{name}': the model expects {key} {tensor[key]} but the model "
                    f"configuration specifies {key} {written[key]}"
                )
