"""The server's configuration file as records: one for each message of config/schema/server_config.proto."""

from dataclasses import dataclass, field

from atoll.config.model_config import ModelVersionPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfigFile:
    """The whole file."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class ModelConfigList:
        """Models, under `config` each."""

        @dataclass(frozen=True, slots=True, kw_only=True)
        class Entry:
            """One model: where it lies, and what its own configuration leaves open."""

            name: str = ""
            base_path: str = ""
            model_platform: str = ""
            model_version_policy: ModelVersionPolicy | None = None

        config: tuple[Entry, ...] = ()

    @dataclass(frozen=True, slots=True, kw_only=True)
    class BackendConfig:
        """Settings of one backend, those of --backend-config."""

        backend: str = ""
        parameters: dict[str, str] = field(default_factory=dict)

    @dataclass(frozen=True, slots=True, kw_only=True)
    class ModelDefaults:
        """The host memory for batches, in bytes."""

        memory_pool_byte_size: int | None = None
        memory_pool_alignment: int | None = None

    model_config_list: ModelConfigList | None = None
    backend_config: tuple[BackendConfig, ...] = ()
    model_config: ModelDefaults | None = None
