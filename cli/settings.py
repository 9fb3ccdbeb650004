"""Every setting, from flags, the environment (ABCTL_...) and abctl.toml; flags win, then the environment."""

from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from cli.failures import Refused
from store.data_dir import DataDir


class Settings(BaseSettings):
    """The settings of one command."""

    model_config = SettingsConfigDict(env_prefix="ABCTL_", toml_file="abctl.toml", extra="forbid")

    data_dir: Path = Path(".abctl")
    host: str = "127.0.0.1"
    port: int = Field(default=8711, ge=0, le=65535)
    database_url: str = ""
    redis_url: str = ""
    experiment: str = "main"
    url: str = ""
    api_key: str = ""
    shared: str = "../shared"
    workers: int = Field(default=1, ge=1, le=64)
    split_lead_s: float = Field(default=2.0, gt=1.0, le=60.0)
    fsync_interval_s: float = Field(default=0.05, gt=0.0, le=10.0)
    journal_quota_bytes: int = Field(default=2 << 30, ge=1 << 20)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, environment, file: in this order."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def place(self) -> DataDir:
        """The data directory."""
        return DataDir(self.data_dir)

    @property
    def sql_url(self) -> str:
        """The database: SQLite in the data directory unless another is named."""
        return self.database_url or f"sqlite:///{self.place.database.resolve()}"


def read_settings(**flags: object) -> Settings:
    """The settings, or one sentence that names the one that is wrong. Flags that are None were not given."""
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise Refused(f"setting {name} (ABCTL_{name.upper()}): {first['msg']}") from error
