"""The states of a client's connection, and which may follow which."""

from enum import IntEnum
from typing import Final


class State(IntEnum):
    """What the connection waits for."""

    HEAD = 0  # a request's head, or its first byte
    BODY = 1  # the rest of a body of known length
    CHUNKS = 2  # the rest of a chunked body
    ANSWER = 3  # the endpoint's answer
    STREAM = 4  # the rest of an answer that has begun
    LINGER = 5  # refused: the client's end, while what it still sends is dropped
    CLOSED = 6  # closing, or closed


# An enum's member costs ten times as much to look up as a module's name.
HEAD: Final = State.HEAD
BODY: Final = State.BODY
CHUNKS: Final = State.CHUNKS
ANSWER: Final = State.ANSWER
STREAM: Final = State.STREAM
LINGER: Final = State.LINGER
CLOSED: Final = State.CLOSED

MOVES = {
    HEAD: {BODY, CHUNKS, ANSWER, LINGER, CLOSED},
    BODY: {ANSWER, LINGER, CLOSED},
    CHUNKS: {ANSWER, LINGER, CLOSED},
    ANSWER: {STREAM, HEAD, CLOSED},
    STREAM: {HEAD, CLOSED},
    LINGER: {CLOSED},
    CLOSED: {CLOSED},
}
