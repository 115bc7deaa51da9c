"""Has a server load models one after another, and notes the groups that it completes, or why it refuses."""

import json
from pathlib import Path
from typing import Any

from tests.conformance.instance_groups.groups import GROUPS
from tests.conformance.model_folders import IDENTITY, identity_config, write_model
from tests.conformance.process import ServerProcess

ARGUMENTS = ("--model-control-mode=explicit",)


def write_models(repository: Path) -> Path:
    """A Python model for each form."""
    for name, text in GROUPS.items():
        write_model(repository, name, identity_config("INT32", more=text.replace("NAME", name) + "\n"), IDENTITY)
    return repository


def examine(server: ServerProcess, name: str) -> Any:
    """The groups of the model's completed configuration; or the error, its lines in a list."""
    answer = server.exchange("POST", f"/v2/repository/models/{name}/load")
    if answer.status != 200:
        return {"status": answer.status, "error": json.loads(answer.body)["error"]}
    groups = json.loads(server.exchange("GET", f"/v2/models/{name}/config").body)["instance_group"]
    server.exchange("POST", f"/v2/repository/models/{name}/unload")
    return {"status": answer.status, "instance_group": groups}
