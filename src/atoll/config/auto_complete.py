"""What a model's own code makes of its configuration: which changes count, as in the real server, and what is told."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from atoll.config.document_reader import read_document
from atoll.config.documents import Document
from atoll.config.fields import fields_of
from atoll.config.model_config import ModelConfig, ModelTransactionPolicy
from atoll.config.problems import Problem

FUNCTION = "auto_complete_config"
_SCHEDULERS = ("dynamic_batching", "sequence_batching", "ensemble_scheduling")
_MAY_CHANGE = ("max_batch_size", "input", "output", *_SCHEDULERS, "model_transaction_policy")


def completed(
    config: ModelConfig, shown: ModelConfig, document: Mapping[str, Any], code: Path
) -> tuple[ModelConfig, list[Problem]]:
    """The configuration with those changes that a model's code may make, and warnings of what else it tried.

    `config` is what the user wrote, `shown` the same with the defaults, which the code was given, and `document` what
    it returned. It may change max_batch_size, inputs, outputs and whether the model is decoupled, and choose a
    scheduler where the user has not. A document that is no configuration, or has another scheduler than the user's,
    changes nothing: the real server drops it as a whole, and without a word. `code` is the file of the code.
    """
    reading = read_document(Document(document, {}), ModelConfig)
    if reading.problems or reading.record is None:
        return config, [_unused(problem, code) for problem in reading.problems]
    said: ModelConfig = reading.record
    before, after = _scheduler(config), _scheduler(said)
    if before and after != before:
        problem = Problem(
            after or before,
            f"the configuration says {before}",
            after or "no scheduler",
            before,
            f"Leave {before} as it is, or remove it from the configuration.",
        )
        return config, [_unused(problem, code)]
    changed = replace(config, max_batch_size=said.max_batch_size, input=said.input, output=said.output)
    if after and not before:
        changed = replace(changed, **{after: getattr(said, after)})
    if said.model_transaction_policy is not None:
        decoupled = said.model_transaction_policy.decoupled
        changed = replace(changed, model_transaction_policy=ModelTransactionPolicy(decoupled=decoupled))
    return changed, [
        Problem(
            field.name,
            f"{FUNCTION} cannot change this; the change is ignored",
            "",
            "",
            "Write it into the configuration.",
            warning=True,
            file=str(code),
        )
        for field in fields_of(ModelConfig)
        if getattr(said, field.attribute) != getattr(shown, field.attribute)
        and (field.attribute not in _MAY_CHANGE or field.attribute == before)
    ]


def blamed(problems: list[Problem], config: ModelConfig, written: ModelConfig, code: Path) -> list[Problem]:
    """The same problems; those about a key that the model's code has changed stand in its file."""
    changed = {
        one.name for one in fields_of(ModelConfig) if getattr(config, one.attribute) != getattr(written, one.attribute)
    }
    return [
        replace(one, file=str(code), message=f"{one.message.removesuffix('.')} (so {FUNCTION} returned it)")
        if not one.file and one.path.partition(".")[0].partition("[")[0] in changed
        else one
        for one in problems
    ]


def _scheduler(config: ModelConfig) -> str:
    return next((one for one in _SCHEDULERS if getattr(config, one) is not None), "")


def _unused(problem: Problem, code: Path) -> Problem:
    message = f"what {FUNCTION} returned is not used: {problem.message}"
    return replace(problem, message=message, warning=True, file=str(code))
