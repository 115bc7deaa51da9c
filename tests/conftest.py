"""What holds for all tests: no property is judged by how long an example takes, as machines are slow now and then."""

from hypothesis import HealthCheck, settings

settings.register_profile("atoll", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("atoll")
