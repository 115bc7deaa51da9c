"""What a GPU says of itself, for tests on machines without one."""

from atoll.devices.nvml import GpuReading

GPU = GpuReading(
    number=0,
    uuid="GPU-1",
    name="H",
    total_bytes=1000,
    used_bytes=100,
    utilization=0.5,
    power_watts=65.5,
    power_limit_watts=300.0,
    energy_joules=1000.0,
)
