"""Whatever is written and however the client takes it: everything arrives once and in order, and the end comes last."""

from hypothesis import given
from hypothesis import strategies as st

from atoll.frontends.listening.pacing import PIECE, Paced


class Tls:
    """The transport of TLS: holds what it is given until the test takes some of it."""

    def __init__(self):
        self.taken = bytearray()
        self.pending = bytearray()
        self.most = 0
        self.high, self.low = 1 << 19, 0
        self.paused = False
        self.closed = False

    def set_write_buffer_limits(self, high, low):
        self.high, self.low = high, low
        self.tell()

    def write(self, data):
        assert not self.closed, "written to after its end"
        assert len(data) <= PIECE
        self.pending += data
        self.most = max(self.most, len(self.pending))
        self.tell()

    def take(self, size):
        self.taken += self.pending[:size]
        del self.pending[:size]
        self.tell()

    def tell(self):
        if len(self.pending) >= self.high and not self.paused:
            self.paused = True
            self.protocol.pause_writing()
        elif len(self.pending) <= self.low and self.paused:
            self.paused = False
            self.protocol.resume_writing()

    def get_write_buffer_size(self):
        return len(self.pending)

    def close(self):
        assert not self.pending, "closed before all was taken"
        self.closed = True

    def is_closing(self):
        return self.closed


class Behind:
    """The protocol: notes what it is told."""

    def __init__(self):
        self.told = []

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        self.told.append("lost")

    def pause_writing(self):
        self.told.append("pause")

    def resume_writing(self):
        self.told.append("resume")

    def get_buffer(self, hint):
        return bytearray(1)

    def buffer_updated(self, size):
        self.told.append(size)

    def eof_received(self):
        return None


def made():
    behind, tls = Behind(), Tls()
    tls.protocol = Paced(behind)
    tls.protocol.connection_made(tls)
    return behind, tls


SIZES = st.integers(0, 3 * PIECE)
STEPS = st.lists(st.tuples(st.sampled_from(["write", "lines", "take"]), st.lists(SIZES, max_size=4)), max_size=12)


@given(STEPS, st.integers(0, 12))
def test_everything_once_in_order_and_the_end_last(steps, close_at):
    behind, tls = made()
    sent = bytearray()
    for number, (step, sizes) in enumerate(steps):
        parts = [bytes([(number + k) % 251]) * size for k, size in enumerate(sizes)]
        if step == "take":
            tls.take(sum(sizes))
        elif number <= close_at:
            sent += b"".join(parts)
            if step == "lines":
                behind.transport.writelines(parts)
            else:
                for part in parts:
                    behind.transport.write(part)
        assert len(tls.taken) + behind.transport.get_write_buffer_size() == len(sent)
        if number == close_at:
            behind.transport.close()
    behind.transport.close()
    while tls.pending:
        tls.take(PIECE)
    assert tls.taken == sent
    assert tls.closed
    assert tls.most < 4 * PIECE
    pauses = [one for one in behind.told if one in ("pause", "resume")]
    assert pauses == ["pause", "resume"] * (len(pauses) // 2)


def test_a_connection_that_is_lost_keeps_nothing():
    behind, tls = made()
    behind.transport.write(bytes(10 * PIECE))
    assert behind.told == ["pause"]
    tls.protocol.connection_lost(None)
    assert behind.transport.get_write_buffer_size() == len(tls.pending)
    assert behind.told == ["pause", "lost"]


def test_what_comes_in_goes_straight_through():
    behind, tls = made()
    tls.protocol.buffer_updated(7)
    assert behind.told == [7]
