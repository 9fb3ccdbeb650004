"""Every setting, from flags, the environment (ABCTL_...) and abctl.toml; flags win, then the environment.

docs/settings.md is the table of these fields for users.
"""

import os
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from cli.failures import Refused
from store.data_dir import DataDir

PREFIX = "ABCTL_"
FILE = "abctl.toml"
PEPPER_CHARACTERS_MIN = 32
MAIN = "main"
"""The experiment that exists from the start."""
BESIDE_SETTINGS = {
    "ABCTL_ACTOR",
    *("ABCTL_PUBLISH", "ABCTL_POSTGRES_PASSWORD", "ABCTL_LB_BIND", "ABCTL_API1", "ABCTL_API2"),  # deploy/
}


class Settings(BaseSettings):
    """The settings of one command."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, toml_file=FILE, extra="forbid", env_ignore_empty=True
    )

    data_dir: Path = Path(".abctl")
    host: str = "127.0.0.1"
    port: int = Field(default=8711, ge=0, le=65535)
    database_url: str = Field(default="", repr=False)
    redis_url: str = Field(default="", repr=False)
    experiment: str = MAIN
    url: str = ""
    api_key: str = Field(default="", repr=False)
    key_pepper: str = Field(default="", repr=False)
    shared: str = "../shared"
    workers: int = Field(default=1, ge=1, le=64)
    split_lead_s: float = Field(default=2.0, gt=1.0, le=60.0)
    fsync_interval_s: float = Field(default=0.05, gt=0.0, le=10.0)
    journal_quota_bytes: int = Field(default=2 << 30, ge=1 << 20)
    decisions_at_once: int = Field(default=256, ge=1, le=10_000)
    overload: Literal["refuse", "control"] = "refuse"
    arm_timeout_ms: float = Field(default=100, ge=1, le=60_000, allow_inf_nan=False)
    rollout_every_s: float = Field(default=60, ge=1, le=86_400, allow_inf_nan=False)
    webhook_url: str = Field(default="", repr=False)
    webhook_secret: str = Field(default="", repr=False)
    webhook_secret_file: Path | None = None

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

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError(f"{value!r} must begin with http:// or https://")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_sql(cls, value: str) -> str:
        if value and not value.startswith(
            ("postgresql://", "postgresql+psycopg://", "postgres://", "sqlite://")
        ):
            raise ValueError(
                "must begin with postgresql:// or sqlite://, for example postgresql://user@host/abctl"
            )
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        if value and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return value

    @field_validator("api_key")
    @classmethod
    def _is_header(cls, value: str) -> str:
        if not (value.isascii() and value.isprintable()) or " " in value:
            raise ValueError("must be one word of printable ASCII, as `abctl key create` printed it")
        return value

    @field_validator("key_pepper")
    @classmethod
    def _is_long(cls, value: str) -> str:
        if value and len(value) < PEPPER_CHARACTERS_MIN:
            raise ValueError(f"must have {PEPPER_CHARACTERS_MIN} characters or more: openssl rand -hex 32")
        return value

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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{FILE} is not TOML: {error}; mend it or move it away") from error
    except ValidationError as error:
        raise _refused(error) from error


def _refused(error: ValidationError) -> Refused:
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return Refused(f"{FILE}: there is no setting {name!r}; known are {', '.join(Settings.model_fields)}")
    rule = first["msg"].removeprefix("Value error, ")
    return Refused(f"setting {name} ({PREFIX}{name.upper()}): {rule[0].lower()}{rule[1:]}")


def strangers() -> list[str]:
    """Variables that look like settings and are none: a misspelt one would be ignored in silence."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | BESIDE_SETTINGS
    return sorted(
        n for n in os.environ if n.startswith(PREFIX) and n not in known and not n.startswith("ABCTL_TEST_")
    )
