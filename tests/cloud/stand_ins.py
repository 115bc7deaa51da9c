"""What the stand-ins for object stores are, and how clients get at them."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from atoll.repositories.object_store import ObjectStoreRepository, Patience

AZURITE = "azurite@3.35.0"
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # published
AWS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "never-to-be-seen", "HOME": "/nonexistent"}
FEW_RETRIES = Patience(connect_s=20, silence_s=20, request_s=60, retries=1, retry_s=30)
IMPATIENT = Patience(connect_s=1, silence_s=0.5, request_s=2, retries=1, retry_s=2)

Opener = Callable[..., ObjectStoreRepository]


@dataclass
class S3:
    """moto's server with a bucket of this test's own."""

    client: Any
    address: str
    bucket: str

    def put_all(self, objects: dict[str, bytes]) -> None:
        for key, data in objects.items():
            self.client.put_object(Bucket=self.bucket, Key=key, Body=data)


def installed_azurite() -> Path:
    """azurite's blob server, installed once by npm into the user's cache; the test is skipped where that cannot be."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("azurite, the stand-in for Azure, needs node and npm, which are not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atoll-tests"
    home = cache / AZURITE
    program = home / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, AZURITE]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                pytest.skip(f"npm could not install {AZURITE}, the stand-in for Azure: {done.stderr.strip()[-500:]}")
            if not home.exists():
                Path(folder).rename(home)
                Path(folder).mkdir()  # for the context to remove
    return program


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder: its relative path and what is in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
