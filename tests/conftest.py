"""What holds for all tests: no property is judged by the time that an example takes, as any machine is slow at times;
and Ctrl-C is heard, by the tests and the programs that they start, even where a shell has put them into the background.
"""

import gc
import signal

from hypothesis import HealthCheck, settings

settings.register_profile("atoll", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("atoll")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Thousands of collected tests stay to the end: the garbage collector need not look at them again and again."""
    gc.collect()
    gc.freeze()
