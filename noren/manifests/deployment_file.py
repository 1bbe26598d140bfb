"""`deploy/<name>.yaml`: what a user declares, checked, with errors that name file, line and field."""

import re
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    field_validator,
)

from noren.domain import deployment as domain
from noren.domain.errors import SpecError
from noren.manifests.document import contents, parse, shown

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST_S = 366 * 86400.0
_UNITS_BYTES = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "K": 10**3, "k": 10**3, "M": 10**6, "G": 10**9}
_LEAST_BYTES, _MOST_BYTES = 16 * 2**20, 2**50
_MAX_LOCUSTFILE_BYTES = 1_000_000
_MAX_VARIABLE_BYTES, _MAX_VARIABLES_BYTES = 100_000, 1_000_000  # Linux starts no process with more
_MOST_MISTAKES = 20  # that are told of one file
NAME, LONGEST_NAME = r"^[a-z]([a-z0-9-]*[a-z0-9])?$", 50  # of a deployment
_MODES = {
    "quick": domain.LoadGate(),
    "full": domain.LoadGate(duration=timedelta(minutes=10), margins=domain.Margins(p50=0.10, p95=0.12, p99=0.15)),
}


def _duration(value: object) -> object:
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h)\s*", value)):
        seconds = float(match[1]) * _UNITS_S[match[2]]
        if seconds <= _LONGEST_S:
            return timedelta(seconds=seconds)
    if isinstance(value, timedelta):
        return value
    raise ValueError("a duration is a number with a unit: 500ms, 10s, 5m or 1h; at most a year")


def _seconds(value: timedelta) -> str:
    # Not :g, which writes long times as 1e+06.
    return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"


def _bytes(value: object) -> object:
    written = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(written, str) and (match := re.fullmatch(r"\s*(\d{1,20}(?:\.\d{1,9})?)([KMG]i|[KkMG]|)\s*", written)):
        size = int(float(match[1]) * _UNITS_BYTES[match[2]])
        if _LEAST_BYTES <= size <= _MOST_BYTES:
            return size
        raise ValueError(f"{size} bytes are less than 16Mi or more than 1048576Gi; a number without a unit is bytes")
    raise ValueError("memory is a number with a unit: 512Mi, 2Gi, 500M or 1G; a number alone is bytes")


def _text(value: object) -> object:
    # YAML makes numbers and booleans of what is text in an environment.
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value


def _utf8(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        # JSON and YAML can write it ("\ud800"); no process and no database takes it.
        raise ValueError("it has half a character in it (a lone surrogate)") from error


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("it has a line break in it, or another character that is not printed")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(_seconds, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h)$", "examples": ["500ms", "10s", "5m"]}),
]
Memory = Annotated[
    int,
    BeforeValidator(_bytes),
    WithJsonSchema(
        {
            "type": ["string", "integer"],
            "pattern": r"^\d+(\.\d+)?(Ki|Mi|Gi|K|k|M|G)?$",
            "minimum": _LEAST_BYTES,
            "examples": ["512Mi", "2Gi"],
        }
    ),
]
Text = Annotated[str, BeforeValidator(_text)]


class Part(BaseModel):
    """A part of a file: an unknown field is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Route(Part):
    """Where guests find the deployment at the front door."""

    prefix: str | None = Field(
        None,
        pattern=r"^/[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*$",
        max_length=200,
        description="path prefix; default /<name>",
    )
    host: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
        max_length=253,
        description="host name; default <name>.localhost",
    )

    @field_validator("prefix")
    @classmethod
    def _no_way_up(cls, value: str | None) -> str | None:
        if value and {".", ".."} & set(value.split("/")):
            raise ValueError("clients leave `.` and `..` out of a path, so nobody would find it")
        return value

    @field_validator("host")
    @classmethod
    def _no_empty_label(cls, value: str | None) -> str | None:
        if value and ".." in value:
            raise ValueError("a host name has no two dots in a row")
        return value


class Slo(Part):
    """Absolute limits that every revision must keep."""

    p50_ms: float | None = Field(None, gt=0, description="median latency in milliseconds")
    p95_ms: float | None = Field(None, gt=0, description="95th percentile of the latency in milliseconds")
    p99_ms: float | None = Field(None, gt=0, description="99th percentile of the latency in milliseconds")
    error_rate: float = Field(0.01, ge=0, le=1, description="largest fraction of requests that may fail")


class Resources(Part):
    """Limits of each replica; without a line, none. Containers are held to them, plain processes cannot be."""

    cpu: float | None = Field(None, ge=0.01, le=1024, description="cores, 0.5 is half of one")
    memory: Memory | None = Field(None, description="as Kubernetes writes it: Ki Mi Gi, K M G, or bytes")


class QualityGate(Part):
    """Green's model beside blue's. Training stores the metric in the metadata of the model."""

    metric: str = Field(min_length=1, max_length=100, description="its name in the model's metadata, like `auc`")
    margin: float = Field(0.0, ge=0, description="how much worse than blue's green's may be, in its own unit")
    higher_is_better: bool = Field(True, description="`off` for errors and losses")
    model: str | None = Field(None, description="name of the model, where several of the Bento have the metric")

    @field_validator("metric", "model")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        return value if value is None else _one_line(value)


class Margins(Part):
    """How much worse than blue green may be. What cannot be told from worse is not promoted either."""

    p50: float = Field(0.15, gt=0, le=10, description="largest part by which the median may be slower: 0.15 is 15 %")
    p95: float = Field(0.20, gt=0, le=10, description="the same of the 95th percentile")
    p99: float = Field(0.30, gt=0, le=10, description="the same of the 99th percentile")
    errors: float = Field(0.003, gt=0, le=1, description="by how much the fraction of failed requests may be larger")


class LoadGate(Part):
    """The Locust load test of green beside blue: short, or (`mode: full`) long, with smaller margins."""

    locustfile: str | None = Field(
        None, description="a Locust file, relative to this file; default: the service's own example requests"
    )
    mode: Literal["quick", "full"] = Field(
        "quick", description="quick: 45 s and margins of 15, 20 and 30 %; full: 10 minutes and 10, 12 and 15 %"
    )
    rate: float = Field(50.0, gt=0, le=10_000, description="requests per second to each of blue and green")
    warmup: Duration = Field(timedelta(seconds=3), description="sent first and not counted")
    duration: Duration | None = Field(
        None, description="how long is measured at most; default by mode. What is clear sooner ends it sooner"
    )
    margins: Margins | None = Field(None, description="default by mode")
    slack_ms: float = Field(1.0, ge=0, description="a difference below this is none, whatever the ratio")
    pin: bool = Field(True, description="both arms share all cores but the generator's; `off`: the kernel decides")
    twin: bool = Field(True, description="compare with a fresh copy of blue where memory allows; `off`: with blue")

    @field_validator("duration")
    @classmethod
    def _long_enough(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value < timedelta(seconds=1):
            raise ValueError("a load test shorter than 1s measures nothing")
        return value

    def as_domain(self, locustfile: str | None = None) -> domain.LoadGate:
        """With what the mode says where nothing else is said; `locustfile` is its text."""
        preset = _MODES[self.mode]
        return domain.LoadGate(
            locustfile=locustfile,
            rate=self.rate,
            warmup=self.warmup,
            duration=self.duration or preset.duration,
            margins=domain.Margins(**self.margins.model_dump()) if self.margins else preset.margins,
            slack_ms=self.slack_ms,
            pin=self.pin,
            twin=self.twin,
        )


class ParityGate(Part):
    """Green's answers beside blue's to the same requests of the load test."""

    same_model: bool = Field(False, description="the model is the same: answers that differ fail")
    max_share: float = Field(0.0, ge=0, le=1, description="fraction of the answers that may differ all the same")
    ignore: tuple[str, ...] = Field((), description='places that always differ, like "$.model_version"')

    @field_validator("ignore")
    @classmethod
    def _places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_one_line(place) for place in value)


class Gates(Part):
    """What green must pass before its first guest. Each is switched off only by its own line."""

    smoke: bool = Field(True, description="the service's examples answer; bad input gets no 5xx")
    quality: QualityGate | None = Field(None, description="the model's metric beside blue's; without it, not asked")
    load: LoadGate | Literal[False] = Field(default_factory=LoadGate, description="the load test; `off` skips it")
    parity: ParityGate = Field(default_factory=ParityGate)


class Strategy(Part):
    """How traffic moves, and how long each state may last."""

    steps: tuple[int, ...] = Field((10, 50, 100), description="per cent of traffic on green, rising, to 100")
    step_wait: Duration = Field(timedelta(seconds=30), description="how long each step is watched at least")
    step_requests: int = Field(
        20, ge=0, le=1_000_000, description="guests that green must have answered in each step; 0 asks for none"
    )
    bake: Duration = Field(timedelta(minutes=5), description="how long blue stays warm after the switch")
    ready_within: Duration = Field(timedelta(minutes=10), description="environment, start and warm-up")
    gate_within: Duration = Field(timedelta(minutes=20), description="one attempt at the gates")
    hold_within: Duration = Field(timedelta(hours=1), description="how long a held rollout waits for a person")
    drain_within: Duration = Field(timedelta(seconds=30), description="how long open requests may take to end")

    @field_validator("steps")
    @classmethod
    def _rising_to_100(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        rising = all(a < b for a, b in pairwise(steps))
        if not steps or steps[-1] != 100 or not rising or steps[0] < 1:
            raise ValueError("steps rise from at least 1 to 100, for example [10, 50, 100]")
        return steps


class DeploymentFile(Part):
    """A deployment: which Bento, how many copies, where guests find it, and what must hold for a new version."""

    model_config = ConfigDict(title="Noren deployment")

    name: str = Field(
        pattern=NAME,
        max_length=LONGEST_NAME,
        description="name of the deployment: lower-case letters, digits and dashes",
    )
    bento: str = Field(
        pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$",
        max_length=127,  # BentoML's own limit: 63 for each of the two
        description="name:version of a built Bento; name:latest or name alone takes the newest one",
    )
    replicas: int = Field(1, ge=1, le=100, description="copies, each a process of its own")
    workers: int = Field(1, ge=1, le=64, description="worker processes in each copy")
    server: domain.Server = Field(
        domain.Server.NOREN,
        description="what runs the Bento: `noren` is noren-serve, faster; `bentoml` is `bentoml serve`",
    )
    resources: Resources = Field(default_factory=Resources)
    env: dict[str, Text] = Field(default_factory=dict, description="environment variables of the service")
    route: Route = Field(default_factory=Route)
    slo: Slo = Field(default_factory=Slo)
    gates: Gates = Field(default_factory=Gates)
    strategy: Strategy = Field(default_factory=Strategy)

    @field_validator("env")
    @classmethod
    def _environment_names(cls, env: dict[str, str]) -> dict[str, str]:
        total = 0
        for name, value in env.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name.startswith("NOREN_"):
                raise ValueError(f"{shown(name)!r} is no name for an environment variable of a service")
            if "\0" in value:
                raise ValueError(f"the value of {shown(name)!r} has a null byte")
            size = len(name) + len(_utf8(value))
            total += size
            if size > _MAX_VARIABLE_BYTES or total > _MAX_VARIABLES_BYTES:
                raise ValueError(f"with {shown(name)!r} it is too much to start a process with: put it into a file")
        return env

    def revision(self, locustfile: str | None = None) -> domain.Revision:
        """As the domain has it; number 0, the Bento not yet resolved.

        locustfile  the text of the Locust file that `gates.load.locustfile` names
        """
        return domain.Revision(
            deployment=self.name,
            number=0,
            bento=self.bento,
            replicas=self.replicas,
            workers=self.workers,
            server=self.server,
            resources=domain.Resources(cpu=self.resources.cpu, memory_bytes=self.resources.memory),
            env=dict(self.env),
            route=domain.Route(
                prefix=self.route.prefix or f"/{self.name}", host=self.route.host or f"{self.name}.localhost"
            ),
            slo=domain.Slo(**self.slo.model_dump()),
            gates=domain.Gates(
                smoke=self.gates.smoke,
                quality=domain.QualityGate(**self.gates.quality.model_dump()) if self.gates.quality else None,
                load=self._load_gate(locustfile),
                parity=domain.ParityGate(**self.gates.parity.model_dump()),
            ),
            strategy=domain.Strategy(**self.strategy.model_dump()),
        )

    def _load_gate(self, locustfile: str | None) -> domain.LoadGate:
        load = self.gates.load
        if load is False:
            return domain.LoadGate(enabled=False)
        return load.as_domain(locustfile)


class Request(Part):
    """What is sent to the API: the deployment file, and the text of the file that it names."""

    spec: DeploymentFile
    locustfile: str | None = Field(None, max_length=_MAX_LOCUSTFILE_BYTES)

    @field_validator("locustfile")
    @classmethod
    def _python_text(cls, value: str | None) -> str | None:
        if value is not None and b"\0" in _utf8(value):
            raise ValueError("it has a null byte in it, so it is no Python text")
        return value

    def revision(self) -> domain.Revision:
        """See DeploymentFile.revision."""
        return self.spec.revision(self.locustfile)


def read(path: Path) -> Request:
    """Read and check one file. Raises SpecError, naming file, line and field."""
    node, document = parse(path)
    try:
        spec = DeploymentFile.model_validate(document)
    except ValidationError as error:
        raise explain(path, node, error) from error
    named = spec.gates.load.locustfile if spec.gates.load else None
    if named is None:
        return Request(spec=spec)
    where = f"{path}:{_line(node, ('gates', 'load', 'locustfile'))}: gates.load.locustfile"
    return Request(spec=spec, locustfile=_locustfile(where, path.parent / named))


def read_all(paths: Sequence[Path]) -> list[Request]:
    """Read files, and every *.yaml and *.yml of folders. Raises SpecError."""
    files: list[Path] = []
    for path in paths:
        try:
            inside = sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if path.is_dir() else [path]
        except OSError:
            inside = [path]  # a name that is too long, for one: who reads it says so
        if not inside:
            raise SpecError(f"{path}: no deployment files (*.yaml) in this folder", fix="name one, or another folder")
        files += inside
    return [read(file) for file in files]


def _locustfile(where: str, path: Path) -> str:
    name = shown(path, most=1000)
    try:
        content = contents(path, _MAX_LOCUSTFILE_BYTES)
        if len(content) > _MAX_LOCUSTFILE_BYTES:
            raise SpecError(f"{where}: {name} is over 1 MB", fix="keep data out of the Locust file")
        text = content.decode("utf-8-sig")
        compile(text, str(path), "exec")
    except OSError as error:
        raise SpecError(
            f"{where}: {name} cannot be read: {error.strerror}", fix="paths are relative to the YAML file"
        ) from error
    except SyntaxError as error:
        raise SpecError(f"{name}:{error.lineno or 1}: {error.msg}", fix="correct the Locust file") from error
    except ValueError as error:  # not UTF-8, or null bytes
        raise SpecError(f"{where}: {name} is no Python text: {error}", fix="save it as UTF-8") from error
    except (RecursionError, MemoryError) as error:  # the compiler's way to say so
        raise SpecError(f"{where}: {name} is nested too deeply for Python", fix="simplify the Locust file") from error
    return text


def explain(path: Path, node: yaml.Node | None, error: ValidationError) -> SpecError:
    """Each mistake on a line of its own: file:line: field: what is wrong."""
    lines: list[str] = []
    more = 0
    for one in error.errors():
        # Which member of a union was tried is our business, not the reader's.
        place = tuple(part for part in one["loc"] if part != "LoadGate" and not str(part).startswith("literal["))
        if "literal_error" in one["type"] and place == ("gates", "load"):
            continue
        if len(lines) == _MOST_MISTAKES:
            more += 1
            continue
        if one["type"] == "model_type" and not place:
            lines.append(f"{path}:1: the file is empty, or no mapping of fields: begin with `name:`")
            continue
        message = one["msg"].removeprefix("Value error, ").replace("Extra inputs are not permitted", "unknown field")
        field = ".".join(map(shown, place)) or "the file"
        lines.append(f"{path}:{_line(node, place)}: {field}: {shown(message, most=300)}")
    if more:
        lines.append(f"{path}: and {more} more mistakes")
    return SpecError("\n".join(lines), fix="`noren schema` describes every field")


def _line(node: yaml.Node | None, place: tuple[Any, ...]) -> int:
    """The line of the field, or of the nearest part around it that is there."""
    line = node.start_mark.line + 1 if node else 1
    for part in place:
        # What was merged into a mapping (`<<`) stands before its own fields, which count.
        entries = reversed(node.value) if isinstance(node, yaml.MappingNode) else []
        match = next(((k, v) for k, v in entries if k.value == str(part)), None)
        if match is None:
            if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
                continue
            break
        key, node = match
        line = key.start_mark.line + 1
    return line
