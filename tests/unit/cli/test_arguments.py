"""Options as command-line arguments: each command's own part of them, with the defaults of all."""

import argparse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.cli.arguments import add_options, values_of
from atoll.cli.main import COMMANDS, main
from atoll.options import OPTIONS, OURS, Option, ServerOptions, library_options


def parser_of(*options: Option) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    add_options(parser, options)
    return parser


def parse(option: Option, *words: str) -> Any:
    return getattr(parser_of(option).parse_args(list(words)), option.field)


def option(kind: type, default: Any = None, **more: Any) -> Option:
    return Option("some-name", kind, default, "Help with 100% of it.", "Section", **more)


def test_what_a_command_does_not_have_has_its_default() -> None:
    chosen = next(one for one in OPTIONS if one.name == "config")
    values = values_of(parser_of(chosen).parse_args(["--config=x"]))
    assert values.keys() == {one.field for one in OPTIONS}
    assert values["config"] == "x"
    assert values["http_port"] == 8000
    assert ServerOptions(**library_options(values)) == ServerOptions(config="x")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert ("--config" in text) is (command not in ("key", "trace"))  # which need no server
    assert "%%" not in text


def test_the_help_says_what_is_ours_and_what_the_default_is() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    helps = {action.dest: str(action.help) for action in parser._actions}
    for one in OPTIONS:
        assert ("Not in tritonserver." in helps[one.field]) is (one.source == OURS)
        if type(one.default) is int:
            assert f"Default: {one.default}." in helps[one.field]


def test_options_that_nobody_gives_keep_none() -> None:
    assert parse(option(int)) is None
    assert parse(option(int), "--some-name=0") == 0


def test_lists_are_not_shared_between_parses() -> None:
    repeatable = option(list, ())
    parser = parser_of(repeatable)
    assert parser.parse_args(["--some-name=a", "--some-name", "b"]).some_name == ["a", "b"]
    assert parser.parse_args([]).some_name == []


def test_a_boolean_alone_is_true_and_takes_no_plain_argument_that_is_none() -> None:
    assert parse(option(bool, False), "--some-name") is True
    with pytest.raises(argparse.ArgumentError, match="'models' is neither true nor false"):
        parse(option(bool, False), "--some-name", "models")


@given(st.integers())
def test_whole_numbers_within_their_bounds(number: int) -> None:
    bounded = option(int, 5, minimum=0, maximum=65535)
    if 0 <= number <= 65535:
        assert parse(bounded, f"--some-name={number}") == number
    else:
        with pytest.raises(argparse.ArgumentError, match=r"less than 0|more than 65535"):
            parse(bounded, f"--some-name={number}")


@given(st.text(max_size=20))
def test_any_text_for_a_number_is_a_number_or_an_error_that_shows_it(text: str) -> None:
    try:
        value = parse(option(float, 1.0, minimum=0), f"--some-name={text}")
    except argparse.ArgumentError as error:
        assert "some-name" in str(error)
    else:
        assert 0 <= value == float(text)


@given(st.text(max_size=20))
def test_any_text_for_a_boolean(text: str) -> None:
    try:
        value = parse(option(bool, False), f"--some-name={text}")
    except argparse.ArgumentError as error:
        assert "neither true nor false" in str(error)
    else:
        assert text.lower() in (("true", "1") if value else ("false", "0"))


def test_names_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([command, "--model-config=x", "m"])
        assert ended.value.code == 2
        assert "--model-config=x" in capsys.readouterr().err


def test_a_misspelt_option_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    for words, right in (
        (["serve", "--model-repositry=m"], "--model-repository"),
        (["inspect", "--jsn", "m"], "--json"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        assert f"(did you mean {right}?)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["validate", "--nonsense"])
    assert "did you mean" not in capsys.readouterr().err


def test_an_error_is_one_line_that_names_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--http-port=99999"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("atoll serve: error: argument --http-port: 99999 is more than 65535")
    assert "`atoll serve --help`" in line


@pytest.mark.parametrize(("text", "number"), [("true", 1), ("false", 0), ("2", 2)])
def test_a_level_may_be_a_boolean_where_the_real_server_takes_one(text: str, number: int) -> None:
    (level,) = [one for one in OPTIONS if one.name == "log-verbose"]
    assert parse(level, f"--log-verbose={text}") == number
    with pytest.raises(argparse.ArgumentError, match="'True' is not a whole number"):
        parse(level, "--log-verbose=True")
