"""Where things are: the environment over `noren.toml` in the home folder over the defaults, read once."""

import os
import socket
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from noren.domain.errors import DriverError, SpecError
from noren.machine import write_whole

CONFIG = "noren.toml"
_RUNTIME = "runtime"  # the file with the last choice


class Runtime(StrEnum):
    """What a replica is."""

    PROCESS = "process"
    CONTAINER = "container"


class Settings(BaseSettings):
    """One frozen set of settings. Every field can be set as NOREN_<FIELD> or as a line of noren.toml."""

    model_config = SettingsConfigDict(env_prefix="NOREN_", frozen=True, extra="forbid")

    home: Path = Field(description="state: database, logs, environments, front door files")
    bentoml_home: Path = Field(description="the BentoML store; BENTOML_HOME, or ~/bentoml")
    host: str = Field("127.0.0.1", description="address of the API; loopback by default")
    port: int = Field(7410, ge=1, le=65535, description="port of the API")
    front_door_host: str = Field("127.0.0.1", description="address that guests reach; loopback by default")
    front_door_port: int = Field(7480, ge=1, le=65535, description="port that guests reach")
    admin_port: int = Field(7490, ge=1, le=65535, description="port of Envoy's admin page, on loopback")
    runtime: Runtime = Field(Runtime.PROCESS, description="what a replica is")
    container_engine: Literal["", "docker", "podman"] = Field("", description="by default the first that answers")
    image_base: str = Field("", description="base of replicas' images, instead of the one that BentoML chose")
    database_url: str = Field("", description="SQLAlchemy URL; SQLite in the home folder by default")
    lease_s: float = Field(5.0, ge=1, le=600, description="silent for so long, a control plane leads no more")
    retain_revisions: int = Field(
        20, ge=1, description="of each deployment so many keep their logs, evidence and environments"
    )
    retain_days: int = Field(90, ge=1, le=36_500, description="... and for so long, unless they are in use")

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return _url(self.host, self.port)

    @property
    def front_door_url(self) -> str:
        """Where guests come in, as seen from this machine."""
        return _url(self.front_door_host, self.front_door_port)

    @property
    def holder(self) -> str:
        """The name of this control plane among those that share a database: no other listens there."""
        return f"{socket.gethostname()} {self.api_url}"

    @property
    def lock_file(self) -> Path:
        """Held by a control plane for as long as it lives. Several share a home only where they share a server too."""
        alone = self.database_url.startswith("sqlite")
        return self.home / ("server.lock" if alone else f"server-{self.port}.lock")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the file, then what `load` found out."""
        toml = TomlConfigSettingsSource(settings_cls, toml_file=find_home() / CONFIG)
        return env_settings, toml, init_settings


def load() -> Settings:
    """Read the settings of this process. Raises SpecError, naming the field."""
    home = find_home()
    found: dict[str, Any] = {
        "home": home,
        "bentoml_home": os.environ.get("BENTOML_HOME") or Path.home() / "bentoml",
        "database_url": f"sqlite:///{home / 'noren.db'}",
        "runtime": remembered_runtime(home),
    }
    try:
        settings = Settings(**found)
    except ValidationError as error:
        first = error.errors()[0]
        raise SpecError(
            f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}",
            fix=f"correct NOREN_{str(first['loc'][0]).upper()} or {home / CONFIG}",
        ) from error
    except ValueError as error:  # malformed TOML
        raise SpecError(f"{home / CONFIG}: {error}", fix="correct the file or remove it") from error
    named = os.environ.get("NOREN_BENTOML_HOME") or os.environ.get("BENTOML_HOME")
    bentoml_home = Path(named).expanduser() if named else home / settings.bentoml_home.expanduser()
    return settings.model_copy(update={"home": home, "bentoml_home": bentoml_home.resolve()})


def remember_runtime(settings: Settings) -> None:
    """Keep what `noren up --runtime` said once: the next `noren up` brings all back as it was."""
    if settings.runtime != remembered_runtime(settings.home):
        write_whole(settings.home / _RUNTIME, f"{settings.runtime}\n")


def remembered_runtime(home: Path) -> Runtime:
    """What the control plane of this home, that runs or ran last, makes of a replica."""
    try:
        return Runtime((home / _RUNTIME).read_text().strip())
    except (OSError, ValueError):  # nothing was ever said, or a power cut left no word
        return Runtime.PROCESS


def find_home() -> Path:
    """NOREN_HOME, or the nearest `.noren` folder from here upwards, or ~/.noren."""
    if named := os.environ.get("NOREN_HOME"):
        return Path(named).expanduser().resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ".noren").is_dir():
            return (folder / ".noren").resolve()
    return (Path.home() / ".noren").resolve()


def _url(host: str, port: int) -> str:
    """As seen from this machine: an address that means all of its addresses is reached on loopback."""
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def writable_home(home: Path) -> Path:
    """Make the home folder, hidden from Bentos and commits. Raises DriverError when it cannot be written."""
    try:
        (home / "logs").mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)  # environment variables of services are in here
        # In a project's folder, neither a Bento nor a commit may take our state in.
        for name in (".bentoignore", ".gitignore"):
            (home / name).write_text("*\n")
    except OSError as error:
        raise DriverError(
            f"{home} cannot be written: {error.strerror}", fix="make it writable, or set NOREN_HOME to another folder"
        ) from error
    return home
