"""Folders of our own for files that live as long as a model does."""

import logging
import os
import shutil
import tempfile
from pathlib import Path

from atoll.errors import InternalError

log = logging.getLogger(__name__)


def new_folder(prefix: str, what: str, parent: Path | None = None) -> Path:
    """The real path of an empty folder (mode 0700) in `parent`, or in the system's temporary folder.

    Raises InternalError saying that it was for `what`.
    """
    try:
        return Path(tempfile.mkdtemp(prefix=prefix, dir=parent)).resolve()
    except OSError as error:
        raise InternalError(
            f"cannot make a folder for {what}: {error}; free space there, or point TMPDIR elsewhere"
        ) from error


def remove_folder(folder: Path) -> None:
    """Delete the folder and all in it; what cannot be deleted is logged, since nobody could do anything about it."""
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):
        log.warning("cannot remove '%s' with all that is in it; its disk space stays in use: delete it", folder)
