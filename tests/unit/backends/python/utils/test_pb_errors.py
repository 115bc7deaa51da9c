"""TritonError, its codes, and the wrong arguments of constructors."""

import pytest

from atoll.backends.python.utils import TritonError, TritonModelException
from atoll.backends.python.utils.errors import ErrorCode
from atoll.errors import AtollError, Code, DeadlineExceededError, InvalidArgumentError, NotFoundError

pytestmark = pytest.mark.filterwarnings("error")


def test_an_error_has_a_message_and_a_code() -> None:
    error = TritonError("gone", TritonError.NOT_FOUND)
    assert (error.message(), error.code()) == ("gone", TritonError.NOT_FOUND)
    assert TritonError("x").code() is TritonError.INTERNAL
    assert TritonError(b"bytes").message() == "bytes"  # type: ignore[arg-type]
    assert not isinstance(error, Exception)


def test_codes_read_as_the_real_modules_do() -> None:
    code = TritonError.NOT_FOUND
    assert (repr(code), str(code), int(code), code == 2) == (
        "<__ErrorCode.NOT_FOUND: 2>",
        "__ErrorCode.NOT_FOUND",
        2,
        True,
    )
    assert [one.value for one in ErrorCode] == list(range(8))
    assert getattr(TritonError, "__ErrorCode") is ErrorCode


@pytest.mark.parametrize(("message", "code"), [(5, TritonError.INTERNAL), ("m", 3), (None, TritonError.INTERNAL)])
def test_other_arguments_are_type_errors(message: object, code: object) -> None:
    with pytest.raises(TypeError) as raised:
        TritonError(message, code)  # type: ignore[arg-type]
    assert str(raised.value).startswith(
        "__init__(): incompatible constructor arguments. The following argument types are supported:\n"
        "    1. c_python_backend_utils.TritonError(message: str, "
        "code: c_python_backend_utils.TritonError.__ErrorCode = <__ErrorCode.INTERNAL: 1>)\n\nInvoked with: "
    )


def test_a_deadline_of_the_servers_is_unavailable_to_a_model() -> None:
    assert TritonError.of(DeadlineExceededError("late")).code() is ErrorCode.UNAVAILABLE


@pytest.mark.parametrize("code", [code for code in Code if code.name in ErrorCode.__members__])
def test_the_servers_errors_keep_their_code_both_ways(code: Code) -> None:
    cause = next(one for one in [AtollError, *AtollError.__subclasses__()] if one.code is code)
    error = TritonError.of(cause("why"))
    assert (error.message(), error.code().name) == ("why", code.name)
    assert (str(error.as_atoll_error()), error.as_atoll_error().code) == ("why", code)


def test_any_other_exception_is_an_internal_error() -> None:
    assert TritonError.of(KeyError("k")).code() is TritonError.INTERNAL
    assert isinstance(TritonError("x", TritonError.NOT_FOUND).as_atoll_error(), NotFoundError)
    assert isinstance(TritonError("x", TritonError.INVALID_ARG).as_atoll_error(), InvalidArgumentError)
    assert issubclass(TritonModelException, Exception)
