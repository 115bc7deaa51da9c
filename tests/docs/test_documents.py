"""What the documents say to type works as it stands there, against an installed wheel."""

import json
import re
import shlex
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.house.names_in_code import command_options

from atoll.options import OPTIONS

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "examples" / "README.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "docs" / "reference").glob("*.md"),
    ]
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CERTIFICATE = "openssl req "
COMMANDS = ("atoll validate", "atoll inspect", "atoll key")
PREPARATION = ("scripts/", "pip install", "python benchmarks", "python -m benchmarks", "benchmarks/")  # run elsewhere


@dataclass(frozen=True)
class Block:
    page: Path
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(page, language, text) for language, text in FENCE.findall(page.read_text())]


def commands(text: str) -> list[str]:
    """The commands of a shell block: a line that leaves a quote open goes on in the next one."""
    found: list[str] = []
    pending = ""
    for line in text.splitlines():
        pending = f"{pending}\n{line}" if pending else line
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:
            continue
        if words:
            found.append(pending)
        pending = ""
    assert not pending, f"a quote is left open: {pending}"
    return found


def all_commands(page: Path) -> list[str]:
    return [command for block in blocks(page) if block.language == "sh" for command in commands(block.text)]


def test_a_shell_block_is_read_as_a_shell_reads_it() -> None:
    assert commands("curl x -d '{\n  1}'\n# a remark\nls  # here") == ["curl x -d '{\n  1}'", "ls  # here"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_of_kinds_that_are_tested(page: Path) -> None:
    for command in all_commands(page):
        known = ("atoll serve", *COMMANDS, "curl ", CERTIFICATE, *PREPARATION)
        assert command.startswith(known), f"nothing runs this: {command}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_can_be_found_from_the_readme() -> None:
    found: set[Path] = set()
    left = [ROOT / "README.md"]
    while left:
        page = left.pop()
        if page not in found:
            found.add(page)
            targets = re.findall(r"\]\(([^)#]+\.md)[^)]*\)", page.read_text())
            left += [(page.parent / target).resolve() for target in targets if "://" not in target]
    assert {page.resolve() for page in PAGES} <= found


def test_options_that_the_documents_name_exist() -> None:
    known = {f"--{name}" for option in OPTIONS for name in (option.name, *option.aliases)} | command_options()
    foreign = {"--name", "--cacert", "--cert", "--key", "--unix-socket"}  # the first stands for any, others are curl's
    foreign |= {"--onnx", "--save", "--min", "--opt", "--max", "--input", "--output"}  # trtexec's --saveEngine, ...
    for page in PAGES:
        if page.name == "benchmarks.md":  # about the benchmark's own options
            continue
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", page.read_text()))
        assert named <= known | foreign, f"{page.name}: {sorted(named - known - foreign)}"


@pytest.mark.wheel
def test_the_wheel_carries_its_own_libnghttp2(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert any("_nghttp2" in name and name.endswith(".so") for name in names)
    assert any(name.startswith("atoll.libs/libnghttp2") for name in names)


@pytest.mark.wheel
def test_the_wheel_carries_the_guard_of_shared_memory(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert any("_guarded" in name and name.endswith(".so") for name in names)


@pytest.mark.wheel
def test_an_installed_wheel_serves_on_its_native_transport(serve) -> None:  # type: ignore[no-untyped-def]
    running = serve(["--model-repository=examples/models", "--http-address=127.0.0.1"])
    assert any("gRPC transport: nghttp2" in line for line in running.log)
    libraries = Path(f"/proc/{running.process.pid}/maps").read_text()
    assert "atoll.libs/libnghttp2" in libraries


@pytest.mark.wheel
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_says_to_type_works(page: Path, serve, empty_environment: Path) -> None:  # type: ignore[no-untyped-def]
    typed = all_commands(page)
    programs = [block.text for block in blocks(page) if block.language == "python"]
    for command in typed:
        if command.startswith(CERTIFICATE):  # servers need the file
            subprocess.run(shlex.split(command), check=True, capture_output=True, timeout=60)
    servers = [shlex.split(command)[2:] for command in typed if command.startswith("atoll serve")]
    started = [serve(arguments) for arguments in servers]
    running = started[explicit] if (explicit := _explicit(servers)) is not None else serve(["examples/models"])

    def here(text: str) -> str:
        for usual, port in ((8000, running.http), (8001, running.grpc), (8002, running.metrics)):
            text = text.replace(f"localhost:{usual}", f"127.0.0.1:{port}")
        return text

    for command in typed:
        if command.startswith(COMMANDS):
            words = [str(empty_environment / "atoll"), *shlex.split(command)[1:]]
            done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            assert done.stdout.strip(), command
        if command.startswith("curl"):
            done = subprocess.run(here(command), shell=True, capture_output=True, text=True, timeout=60, check=True)
            assert done.stdout.strip(), command
            assert '"error"' not in done.stdout, f"{command}\n{done.stdout}"
            if "/infer" in command:
                assert json.loads(done.stdout)["outputs"]
    for program in programs:
        done = subprocess.run(
            [str(empty_environment / "python"), "-W", "error::DeprecationWarning:__main__", "-c", here(program)],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=ROOT,
            check=False,
        )
        assert done.returncode == 0, f"{program}\n{done.stderr}"


def _explicit(servers: list[list[str]]) -> int | None:
    """Which of a page's servers is special: what a page that starts one says to type is meant for it."""
    special = ("--model-control-mode=explicit", "--allow-client-shm=true", "--http-use-ssl", "--trace-config=")
    return next((i for i, words in enumerate(servers) if any(word.startswith(special) for word in words)), None)
