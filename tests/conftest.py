"""What holds for all tests: no property is judged by the time that an example takes: any machine is slow at times."""

import gc

from hypothesis import HealthCheck, settings

settings.register_profile("atoll", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("atoll")


def pytest_collection_finish() -> None:
    """Thousands of collected tests stay to the end: the garbage collector need not look at them again and again."""
    gc.collect()
    gc.freeze()
