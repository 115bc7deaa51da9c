"""What of a requirements.txt decides which environment is made."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.backends.python.environments.requirements import logical_lines, read_requirements
from atoll.errors import ConfigError


def digest(path: Path, **variables: str) -> str:
    return read_requirements(path, variables).digest


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_lines_are_read_as_pip_reads_them() -> None:
    text = (
        "# all\n\nnumpy  # fast\r\n  torch==2.1 \\\n    --hash=sha256:ab\\\n  # end\nurl @ https://x/y#sha=1\nlast \\"
    )
    assert list(logical_lines(text)) == [
        (3, "numpy"),
        (4, "torch==2.1 --hash=sha256:ab"),
        (7, "url @ https://x/y#sha=1"),
        (8, "last"),
    ]


WORDS = st.text(alphabet="ab=<>.0[];-", min_size=1, max_size=8)


@given(st.lists(WORDS, min_size=1, max_size=6), st.integers(0, 3), st.integers(1, 4), st.booleans())
def test_the_layout_decides_nothing(words: list[str], above: int, blanks: int, remark: bool) -> None:
    plain = "\n".join(words)
    laid_out = "\n".join(f"{' ' * blanks}{word}{'  # why' if remark else ''}" for word in words)
    assert [line for _, line in logical_lines("\n" * above + laid_out)] == [line for _, line in logical_lines(plain)]


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    numbers = [number for number, line in logical_lines(text) if line == " ".join(line.split()) and line]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == len(list(logical_lines(text)))


def test_what_is_asked_for_decides_and_the_place_of_the_file_does_not(tmp_path: Path) -> None:
    one = write(tmp_path / "a" / "requirements.txt", "numpy\ntorch")
    assert digest(one) == digest(write(tmp_path / "b" / "other.txt", "numpy # x\n\ntorch\n"))
    assert digest(one) != digest(write(tmp_path / "c.txt", "numpy\ntorch==2"))
    assert digest(one) != digest(write(tmp_path / "d.txt", "numpytorch"))


@pytest.mark.parametrize(
    "line", ["-r more.txt", "-rmore.txt", "--requirement=more.txt", "-c more.txt", "--constraint more.txt"]
)
def test_files_that_are_pulled_in_count(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "requirements.txt", f"{line}\nnumpy")
    more = write(tmp_path / "more.txt", "torch==1")
    before = digest(path)
    more.write_text("torch==2")
    assert digest(path) != before


def test_files_count_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    path = write(tmp_path / "requirements.txt", "-r deep/one.txt")
    write(tmp_path / "deep" / "one.txt", "-r two.txt\n-r ../requirements.txt")
    two = write(tmp_path / "deep" / "two.txt", "a")
    before = digest(path)
    two.write_text("b")
    assert digest(path) != before


def test_variables_count_by_their_values(tmp_path: Path) -> None:
    path = write(tmp_path / "requirements.txt", "--index-url https://${TOKEN}@packages/simple\nnumpy")
    assert digest(path, TOKEN="a") != digest(path, TOKEN="b")
    assert digest(path, TOKEN="a") == digest(path, TOKEN="a", OTHER="c")


@pytest.mark.parametrize(
    "line", ["./pkg", "pkg @ ./pkg", "pkg[x] @ file:pkg", "./pkg[x] ; python_version > '3'", "./pkg --hash=sha256:0"]
)
def test_local_folders_count_by_their_content(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "requirements.txt", line)
    code = write(tmp_path / "pkg" / "sub" / "code.py", "X = 1")
    before = digest(path)
    code.write_text("X = 2")
    changed = digest(path)
    assert changed != before
    code.rename(code.with_name("other.py"))
    assert digest(path) != changed


def test_a_wheel_by_its_absolute_place_counts(tmp_path: Path) -> None:
    wheel = write(tmp_path / "odd name" / "a-1-py3-none-any.whl", "1")
    path = write(tmp_path / "requirements.txt", f"a @ {wheel.as_uri()}")
    before = digest(path)
    wheel.write_text("2")
    assert digest(path) != before


def test_a_folder_that_has_a_packages_name_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "requirements.txt", "numpy")
    before = digest(path)
    write(tmp_path / "numpy" / "x.py", "")
    assert digest(path) == before


def test_hashes_that_are_required_are_noticed(tmp_path: Path) -> None:
    assert read_requirements(write(tmp_path / "a.txt", "--require-hashes\nx==1"), {}).pinned_by_hash
    assert not read_requirements(write(tmp_path / "b.txt", "x==1 --hash=sha256:0"), {}).pinned_by_hash


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("numpy\n\n-e ./here\n", "requirements.txt:3: '-e ./here' installs in editable mode"),
        ("--editable=git+https://x", "requirements.txt:1: '--editable=git+https://x' installs in editable"),
        ("-r absent.txt", "absent.txt cannot be read: No such file"),
        ("x" * (1 << 20) + "y", "has more than 1 MiB"),
        ("-r .", "cannot be read: Is a directory"),
    ],
)
def test_what_is_refused_names_file_and_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_requirements(write(tmp_path / "requirements.txt", text), {})
    assert expected in str(caught.value)


def test_text_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_bytes(b"numpy\n\xff\xfe")
    with pytest.raises(ConfigError, match=r"requirements.txt:2: the requirements file is not UTF-8 text"):
        read_requirements(path, {})


def test_files_without_end_are_refused(tmp_path: Path) -> None:
    for number in range(70):
        write(tmp_path / f"{number}.txt", f"-r {number + 1}.txt")
    with pytest.raises(ConfigError, match="pulls in more than 64 files"):
        read_requirements(tmp_path / "0.txt", {})
