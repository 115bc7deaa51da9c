"""What happens when uv hangs, is killed, or fails in other ways: a stand-in for it does so on demand."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Queue

import pytest

from atoll import errors
from atoll.errors import ConfigError, UnavailableError

WAIT_S = 60.0
SOURCE = str(Path(errors.__file__).parents[1])
FakeUv = Callable[[str], None]

SERVER = """
import os, sys
from pathlib import Path
sys.modules["uv"] = None
from atoll.backends.python.environments import interpreter_for

model = Path(sys.argv[1])
interpreter_for(model_name="reader", model_directory=model, version_directory=model / "1", parameters={},
                settings={"environment-cache-directory": sys.argv[2]}, environment=os.environ, progress=print)
"""


@pytest.fixture
def fake_uv(bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeUv:  # type: ignore[no-untyped-def]
    """fake_uv(script): `uv` on PATH makes a real environment with a numpy in it; to install it runs the script."""
    folder = tmp_path / "fake"
    folder.mkdir()
    monkeypatch.setitem(sys.modules, "uv", None)
    bench.environment["PATH"] = f"{folder}:{bench.environment['PATH']}"

    def install(script: str) -> None:
        (folder / "uv").write_text(
            f"""#!/bin/sh
if [ "$1" = venv ]; then
    for target; do :; done
    {sys.executable} -m venv --without-pip "$target" || exit 1
    for site in "$target"/lib/python*/site-packages; do echo "__version__ = '2.0.0'" > "$site/numpy.py"; done
    exit 0
fi
{script}
"""
        )
        (folder / "uv").chmod(0o755)

    return install


@pytest.mark.slow
def test_a_build_that_takes_too_long_is_ended_and_leaves_nothing(bench, fake_uv: FakeUv) -> None:  # type: ignore[no-untyped-def]
    bench.require("numpy")
    bench.settings["environment-timeout-seconds"] = "3"
    fake_uv("echo Resolved 1 package; sleep 600")
    with pytest.raises(UnavailableError, match="took longer than 3 s and was ended") as caught:
        bench.choose()
    assert "The last that uv said: Resolved 1 package" in str(caught.value)
    assert bench.kept == []
    assert any(line.endswith("requirements.txt: Resolved 1 package") for line in bench.said)
    fake_uv("exit 0")
    assert bench.choose().version == sys.version_info[:2]


def test_a_full_disk_of_uvs_cache_is_one_too(bench, fake_uv: FakeUv) -> None:  # type: ignore[no-untyped-def]
    bench.require("numpy")
    fake_uv("echo 'error: failed to write: No space left on device (os error 28)' >&2; exit 2")
    with pytest.raises(
        UnavailableError, match=r"or of uv's cache is full \(\d+ MiB are free there\); make room"
    ) as caught:
        bench.choose()
    assert "uv says: error: failed to write" in str(caught.value)
    assert bench.kept == []


def test_what_uv_says_is_bounded(bench, fake_uv: FakeUv) -> None:  # type: ignore[no-untyped-def]
    bench.require("numpy")
    fake_uv('i=0; while [ $i -lt 500 ]; do echo "error: $i and so on and so on and so on"; i=$((i+1)); done; exit 1')
    with pytest.raises(ConfigError, match="error: 499") as caught:
        bench.choose()
    assert len(str(caught.value)) < 5000


def test_requirements_that_change_meanwhile_are_not_kept(bench, fake_uv: FakeUv) -> None:  # type: ignore[no-untyped-def]
    path = bench.require("numpy")
    fake_uv(f"echo torch >> {path}")
    with pytest.raises(ConfigError, match="was changed while its environment was made; load the model again"):
        bench.choose()
    assert bench.kept == []


def test_urls_are_told_uv_by_variables_and_not_on_its_command_line(  # type: ignore[no-untyped-def]
    bench, fake_uv: FakeUv, tmp_path: Path
) -> None:
    bench.require("numpy")
    bench.settings |= {
        "index-url": "https://ada:secret@one/simple",
        "extra-index-url": "https://two/simple https://three/simple",
        "find-links": "/wheels https://four/list",
    }
    bench.environment |= {"UV_INDEX": "https://five", "UV_FIND_LINKS": "/more"}
    fake_uv(f'echo "$@" > {tmp_path}/arguments; env > {tmp_path}/variables')
    first = bench.choose()
    assert "secret" not in (tmp_path / "arguments").read_text()
    variables = (tmp_path / "variables").read_text().splitlines()
    assert "UV_DEFAULT_INDEX=https://ada:secret@one/simple" in variables
    assert "UV_INDEX=https://two/simple https://three/simple https://five" in variables
    assert "UV_FIND_LINKS=/wheels,https://four/list,/more" in variables
    assert "UV_OFFLINE=1" in variables
    assert f"UV_CACHE_DIR={bench.settings['environment-cache-directory']}/uv" in variables
    assert "UV_PYTHON_DOWNLOADS=never" in variables
    bench.settings["index-url"] = "https://other/simple"
    assert bench.choose().argv != first.argv


@pytest.mark.slow
def test_uv_of_a_killed_server_ends_before_another_builds(bench, fake_uv: FakeUv, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bench.require("numpy")
    os.mkfifo(tmp_path / "pipe")
    fake_uv(f"echo Resolved; cat {tmp_path}/pipe")
    cache = bench.settings["environment-cache-directory"]
    bench.settings = {"environment-cache-directory": cache}
    server = subprocess.Popen(
        [sys.executable, "-u", "-c", SERVER, str(bench.model), cache],
        env={**bench.environment, "PYTHONPATH": SOURCE},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout
    assert any(line.rstrip().endswith(": Resolved") for line in server.stdout)
    server.send_signal(signal.SIGKILL)
    server.communicate(timeout=WAIT_S)
    (half,) = bench.kept
    fake_uv("exit 0")
    said: Queue[str] = Queue()
    thread = threading.Thread(target=lambda: said.put(bench.choose().argv[0]))
    bench.said = Said(said)
    thread.start()
    assert "waits for another load, or another server" in said.get(timeout=WAIT_S)
    (Path(cache) / half / "mark").touch()
    with (tmp_path / "pipe").open("wb"):  # the orphan reads to the end, and ends
        pass
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert bench.kept == [half]
    assert not (Path(cache) / half / "mark").exists()


class Said(list[str]):
    """Passes on what is appended."""

    def __init__(self, queue: Queue[str]) -> None:
        super().__init__()
        self._queue = queue

    def append(self, line: str) -> None:
        self._queue.put(line)


@pytest.mark.slow
def test_a_load_that_waited_tries_for_itself_when_the_other_fails(bench, fake_uv: FakeUv) -> None:  # type: ignore[no-untyped-def]
    bench.require("numpy")
    fake_uv("sleep 0.3; exit 1")
    failures: list[BaseException] = []

    def load() -> None:
        try:
            bench.choose()
        except ConfigError as error:
            failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(failures) == 2
    assert bench.kept == []
