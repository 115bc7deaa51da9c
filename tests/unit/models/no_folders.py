"""The part of a repository that looking at names and files alone never asks for."""

from pathlib import Path

from atoll.repositories.repository import ModelFolder


class NoFolders:
    """Asking it for a model on disk is a mistake."""

    def folder(self, name: str) -> ModelFolder:
        raise AssertionError("nobody asked for files")

    def release(self, folder: ModelFolder) -> None:
        raise AssertionError("nobody has any")

    def close(self) -> None:
        pass

    def server_config(self) -> Path | None:
        return None
