"""`atoll sagemaker`: what an Amazon SageMaker hosting container runs; its environment says the options."""

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from atoll.cli import serve_command
from atoll.errors import AtollError
from atoll.frontends.sagemaker import container


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `atoll serve`; the environment gives their defaults. SageMaker itself adds the one word `serve`."""
    serve_command.add_arguments(parser)
    parser.set_defaults(**vars(parser.parse_args(container.container_arguments(os.environ))))


def run(namespace: argparse.Namespace) -> int:
    """Serve until a signal; 1 where the environment or the model's archive is not as it must be, or serving failed."""
    environment = os.environ
    namespace.paths = [path for path in namespace.paths if path != "serve"]
    with ExitStack() as left:
        if namespace.paths or namespace.model_repository:
            pass  # somebody tries it elsewhere
        elif container.is_multi_model(environment):
            environment.setdefault("SAGEMAKER_TRITON_PING_MODE", "live")
            namespace.paths = [left.enter_context(TemporaryDirectory())]  # SageMaker says later where each model lies
        else:
            try:
                model = container.default_model(environment, _folders(Path(container.MODEL_FOLDER)))
            except AtollError as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
            environment["SAGEMAKER_TRITON_DEFAULT_MODEL_NAME"] = model
            namespace.paths = [container.MODEL_FOLDER]
            namespace.load_model = namespace.load_model or [model]
        return serve_command.run(namespace)


def _folders(root: Path) -> list[str]:
    try:
        return sorted(one.name for one in root.iterdir() if one.is_dir() and not one.name.startswith("."))
    except OSError:
        return []
