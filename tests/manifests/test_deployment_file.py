"""deploy/<name>.yaml: what five lines mean, and what is said of every mistake."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from noren.domain import deployment as domain
from noren.domain.errors import SpecError
from noren.manifests.deployment_file import DeploymentFile, Request, read, read_all

SECOND = timedelta(seconds=1)
SMALLEST = "name: shop\nbento: shop:v1\n"


def written(folder: Path, text: str, name: str = "shop.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def revision(folder: Path, text: str) -> domain.Revision:
    return read(written(folder, text)).revision()


def mistake(folder: Path, text: str) -> str:
    """What is said of it, after the path."""
    path = written(folder, text)
    with pytest.raises(SpecError) as raised:
        read(path)
    assert raised.value.fix
    assert all(line.startswith(f"{path}:") for line in raised.value.problem.splitlines())
    return raised.value.problem.replace(f"{path}:", "")


def test_two_lines_suffice_and_the_rest_has_defaults(tmp_path: Path) -> None:
    made = revision(tmp_path, SMALLEST)

    assert made == domain.Revision(
        deployment="shop", number=0, bento="shop:v1", route=domain.Route(prefix="/shop", host="shop.localhost")
    )
    assert made.gates.smoke
    assert made.gates.load.enabled


def test_every_field_reaches_the_domain(tmp_path: Path) -> None:
    written(tmp_path, "class User: ...\n", "locust.py")
    made = revision(
        tmp_path,
        """
name: shop
bento: shop
replicas: 2
workers: 3
server: bentoml
resources: {cpu: 0.5, memory: 512Mi}
env: {A: text}
route: {prefix: /a/b, host: shop.example}
slo: {p50_ms: 1, p95_ms: 2.5, p99_ms: 3, error_rate: 0}
gates:
  smoke: off
  load: {locustfile: locust.py, rate: 0.5, warmup: 0s, duration: 1s, margins: {p50: 0.1, errors: 1}, slack_ms: 0}
strategy:
  {steps: [1, 100], step_wait: 1s, bake: 2s, ready_within: 3s, gate_within: 4s, hold_within: 5s, drain_within: 6s}
""",
    )
    assert made == domain.Revision(
        deployment="shop",
        number=0,
        bento="shop",
        replicas=2,
        workers=3,
        server=domain.Server.BENTOML,
        resources=domain.Resources(cpu=0.5, memory_bytes=512 * 2**20),
        env={"A": "text"},
        route=domain.Route(prefix="/a/b", host="shop.example"),
        slo=domain.Slo(p50_ms=1, p95_ms=2.5, p99_ms=3, error_rate=0),
        gates=domain.Gates(
            smoke=False,
            load=domain.LoadGate(
                locustfile="class User: ...\n",
                rate=0.5,
                warmup=timedelta(0),
                duration=SECOND,
                margins=domain.Margins(p50=0.1, errors=1),
                slack_ms=0,
            ),
        ),
        strategy=domain.Strategy(
            steps=(1, 100),
            step_wait=SECOND,
            bake=2 * SECOND,
            ready_within=3 * SECOND,
            gate_within=4 * SECOND,
            hold_within=5 * SECOND,
            drain_within=6 * SECOND,
        ),
    )


def test_the_defaults_of_the_file_are_those_of_the_domain() -> None:
    made = DeploymentFile.model_validate({"name": "shop", "bento": "shop"}).revision()
    assert (made.slo, made.gates, made.strategy) == (domain.Slo(), domain.Gates(), domain.Strategy())
    assert (made.server, made.resources) == (domain.Server.NOREN, domain.Resources())


def test_a_mode_says_what_is_not_said(tmp_path: Path) -> None:
    full = revision(tmp_path, SMALLEST + "gates: {load: {mode: full}}\n").gates.load
    assert (full.duration, full.margins.p50) == (timedelta(minutes=10), 0.10)
    shorter = revision(tmp_path, SMALLEST + "gates: {load: {mode: full, duration: 2m}}\n").gates.load
    assert (shorter.duration, shorter.margins.p50) == (timedelta(minutes=2), 0.10)


def test_the_load_gate_is_switched_off_by_one_word(tmp_path: Path) -> None:
    made = revision(tmp_path, SMALLEST + "gates: {load: off}\n")
    assert not made.gates.load.enabled
    assert made.gates.any


@pytest.mark.parametrize(
    ("written_as", "meant"),
    [
        ("500ms", SECOND / 2),
        ("0s", timedelta(0)),
        ("10s", 10 * SECOND),
        ("1.5m", 90 * SECOND),
        ("2h", timedelta(hours=2)),
        ("' 7 s '", 7 * SECOND),
        ("300h", timedelta(hours=300)),
    ],
)
def test_durations_have_a_unit(tmp_path: Path, written_as: str, meant: timedelta) -> None:
    made = revision(tmp_path, SMALLEST + f"strategy: {{bake: {written_as}}}\n")
    assert made.strategy.bake == meant


@pytest.mark.parametrize("wrong", ["10", "10 seconds", "-1s", "1d", "s", "[]", "{}", "~", "1e3s", "9" * 30 + "h"])
def test_what_is_no_duration_is_said_with_its_line(tmp_path: Path, wrong: str) -> None:
    said = mistake(tmp_path, SMALLEST + f"strategy:\n  steps: [100]\n  bake: {wrong}\n")
    assert said.startswith("5: strategy.bake: a duration is a number with a unit: 500ms, 10s, 5m or 1h")


@pytest.mark.parametrize(
    ("written_as", "meant"),
    [
        ("16Mi", 2**24),
        ("1.5Gi", 3 * 2**29),
        ("32768Ki", 2**25),
        ("500M", 500_000_000),
        ("2G", 2_000_000_000),
        ("20000K", 20_000_000),
        ("20000k", 20_000_000),
        ("20000000", 20_000_000),
        ("' 1 Gi '", None),
        ("' 1Gi '", 2**30),
    ],
)
def test_memory_is_written_as_in_kubernetes(tmp_path: Path, written_as: str, meant: int | None) -> None:
    text = SMALLEST + f"resources: {{memory: {written_as}}}\n"
    if meant is None:
        assert "memory is a number with a unit" in mistake(tmp_path, text)
    else:
        assert revision(tmp_path, text).resources == domain.Resources(memory_bytes=meant)


@pytest.mark.parametrize("wrong", ["512MB", "512mi", "-1Mi", "1e9", "1.5e9", "[]", "'~'", "Mi", "true", "1 Mi", "0x1F"])
def test_what_is_no_memory_is_said_with_its_line(tmp_path: Path, wrong: str) -> None:
    said = mistake(tmp_path, SMALLEST + f"resources:\n  cpu: 1\n  memory: {wrong}\n")
    assert said.startswith("5: resources.memory: ")


@pytest.mark.parametrize(
    ("value", "text"),
    [("1", "1"), ("1.5", "1.5"), ("true", "true"), ("'0123'", "0123"), ("''", ""), ("grüß", "grüß")],
)
def test_numbers_and_truths_in_env_are_the_text_that_they_look_like(tmp_path: Path, value: str, text: str) -> None:
    assert revision(tmp_path, SMALLEST + f"env: {{A: {value}}}\n").env == {"A": text}


MISTAKES = {
    "bento: shop:v1\n": "1: name: Field required",
    "name: shop\n": "1: bento: Field required",
    SMALLEST + "replica: 2\n": "3: replica: unknown field",
    SMALLEST + "strategy:\n  bakes: 1s\n": "4: strategy.bakes: unknown field",
    "name: Shop\nbento: shop\n": "1: name: String should match pattern",
    f"name: {'a' * 51}\nbento: shop\n": "1: name: String should have at most 50 characters",
    "name: shop\nbento: ../../x:y\n": "2: bento: String should match pattern",
    "name: shop\nbento: shop:v1:v2\n": "2: bento: String should match pattern",
    SMALLEST + "replicas: 0\n": "3: replicas: Input should be greater than or equal to 1",
    SMALLEST + "replicas: many\n": "3: replicas: Input should be a valid integer",
    SMALLEST + "workers: 1.5\n": "3: workers: Input should be a valid integer",
    SMALLEST + "server: uvicorn\n": "3: server: Input should be 'noren' or 'bentoml'",
    SMALLEST + "resources: 1\n": "3: resources: Input should be a valid dictionary",
    SMALLEST + "resources:\n  gpu: 1\n": "4: resources.gpu: unknown field",
    SMALLEST + "resources:\n  cpu: 0\n": "4: resources.cpu: Input should be greater than or equal to 0.01",
    SMALLEST + "resources:\n  cpu: half\n": "4: resources.cpu: Input should be a valid number",
    SMALLEST + "resources:\n  memory: 512\n": "4: resources.memory: 512 bytes are less than 16Mi",
    SMALLEST + "resources:\n  memory: 9999999Gi\n": "4: resources.memory: 10737417166258176 bytes",
    SMALLEST + "env: {A: [1]}\n": "3: env.A: Input should be a valid string",
    SMALLEST + "env:\n  A-B: x\n": "env: 'A-B' is no name for an environment variable of a service",
    SMALLEST + "env:\n  NOREN_HOME: x\n": "env: 'NOREN_HOME' is no name for an environment variable of a service",
    SMALLEST + 'env:\n  A: "a\\0b"\n': "3: env: the value of 'A' has a null byte",
    SMALLEST + "route: {prefix: shop}\n": "3: route.prefix: String should match pattern",
    SMALLEST + "route: {prefix: /}\n": "3: route.prefix: String should match pattern",
    SMALLEST + "route: {host: Shop.Example}\n": "3: route.host: String should match pattern",
    SMALLEST + "slo:\n  p95_ms: 0\n": "4: slo.p95_ms: Input should be greater than 0",
    SMALLEST + "slo:\n  p95_ms: .inf\n": "4: slo.p95_ms: Input should be a finite number",
    SMALLEST + "slo:\n  error_rate: 2\n": "4: slo.error_rate: Input should be less than or equal to 1",
    SMALLEST + "gates:\n  load: 5\n": "4: gates.load: Input should be a valid dictionary",
    SMALLEST + "gates:\n  load:\n    rate: 0\n": "5: gates.load.rate: Input should be greater than 0",
    SMALLEST + "gates:\n  load: {duration: 10ms}\n": "4: gates.load.duration: a load test shorter than 1s",
    SMALLEST + "gates:\n  load: {margins: {p50: 0}}\n": "4: gates.load.margins.p50: Input should be greater than 0",
    SMALLEST + "gates:\n  load: {max_ratio: 2}\n": "4: gates.load.max_ratio: unknown field",
    SMALLEST + "strategy: {steps: []}\n": "3: strategy.steps: steps rise from at least 1 to 100",
    SMALLEST + "strategy: {steps: [10, 50]}\n": "3: strategy.steps: steps rise from at least 1 to 100",
    SMALLEST + "strategy: {steps: [50, 10, 100]}\n": "3: strategy.steps: steps rise from at least 1 to 100",
    SMALLEST + "strategy: {steps: [0, 100]}\n": "3: strategy.steps: steps rise from at least 1 to 100",
    SMALLEST + "strategy:\n  steps:\n  - 10\n  - x\n  - 100\n": "6: strategy.steps.1: Input should be a valid integer",
    "": "1: the file is empty, or no mapping of fields: begin with `name:`",
    "- a\n": "1: the file is empty, or no mapping of fields: begin with `name:`",
    "name: [\n": "2: not YAML",
    "name: shop\n  bento: x\n": "2: not YAML: mapping values are not allowed here",
    "name: a\tb: c\n": "1: not YAML",
    "a: *b\n": "1: not YAML: found undefined alias",
    "name: !!python/object:os.system x\n": "1: not YAML",
    "name: 2026-13-45\nbento: shop\n": " not YAML: month must be in 1..12",
    "name: !!bool x\nbento: shop\n": " not YAML",
    "name: !!int x\nbento: shop\n": " not YAML",
    "name: !!timestamp x\nbento: shop\n": " not YAML",
    "name: \x07\n": " not YAML",
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.items())
def test_every_mistake_names_file_line_and_field(tmp_path: Path, text: str, said: str) -> None:
    assert said in mistake(tmp_path, text)


def test_all_mistakes_are_said_at_once_each_on_its_own_line(tmp_path: Path) -> None:
    said = mistake(tmp_path, "name: Shop\nbento: shop\nreplicas: 0\ngates:\n  load: {rate: 0, ratio: 1}\n")
    assert [line.split(": ")[1] for line in said.splitlines()] == [
        "name",
        "replicas",
        "gates.load.rate",
        "gates.load.ratio",
    ]


def test_a_file_that_is_not_there_or_not_text_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        read(tmp_path / "nosuch.yaml")
    (tmp_path / "latin.yaml").write_bytes("name: grüß\n".encode("latin-1"))
    with pytest.raises(SpecError, match="cannot be read"):
        read(tmp_path / "latin.yaml")


WITH_LOCUST = SMALLEST + "gates:\n  load:\n    locustfile: ../loadtests/shop.py\n"


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    for folder in ("deploy", "loadtests"):
        (tmp_path / folder).mkdir()
    return tmp_path / "deploy"


def locust_mistake(deploy: Path, content: bytes | None) -> str:
    if content is not None:
        (deploy.parent / "loadtests/shop.py").write_bytes(content)
    with pytest.raises(SpecError) as raised:
        read(written(deploy, WITH_LOCUST))
    return raised.value.problem


def test_the_locust_file_is_found_from_the_yaml_file_and_sent_as_text(deploy: Path) -> None:
    (deploy.parent / "loadtests/shop.py").write_text("# grüß\n")
    assert read(written(deploy, WITH_LOCUST)).locustfile == "# grüß\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "shop.yaml:5: gates.load.locustfile: .*loadtests/shop.py cannot be read: No such file"),
        (b"a = 1\ndef f(:\n", r"loadtests/shop.py:2: "),
        (b"#" * 1_000_001, "shop.yaml:5: gates.load.locustfile: .*shop.py is over 1 MB"),
        ("# grüß".encode("latin-1"), "shop.yaml:5: gates.load.locustfile: .*shop.py is no Python text"),
        (b"a = '\0'", "shop.py"),
    ],
    ids=["missing", "syntax", "too big", "not UTF-8", "null byte"],
)
def test_a_wrong_locust_file_is_found_before_anything_is_sent(deploy: Path, content: bytes | None, said: str) -> None:
    assert re.search(said, locust_mistake(deploy, content))


def test_a_locust_file_that_is_a_folder_is_a_mistake(deploy: Path) -> None:
    (deploy.parent / "loadtests/shop.py").mkdir()
    assert "Is a directory" in locust_mistake(deploy, None)


def test_a_folder_means_all_its_yaml_files(tmp_path: Path) -> None:
    written(tmp_path, SMALLEST, "b.yaml")
    written(tmp_path, SMALLEST.replace("name: shop", "name: a"), "a.yml")
    written(tmp_path, "no yaml", "README.md")
    assert [request.spec.name for request in read_all([tmp_path])] == ["a", "shop"]
    assert len(read_all([tmp_path, tmp_path / "b.yaml"])) == 3


def test_a_folder_without_deployment_files_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no deployment files"):
        read_all([tmp_path])


def test_the_committed_deployments_are_right() -> None:
    for request in read_all([Path(__file__).parents[2] / "deploy"]):
        assert request.revision().route.prefix == f"/{request.spec.name}"


# What a person may write, from right to absurd.
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary()
_words = st.sampled_from(
    [*DeploymentFile.model_fields, "load", "rate", "steps", "bake", "prefix", "host", "locustfile", "p95_ms", "x"]
)
_values = st.recursive(
    _scalars | st.sampled_from(["10s", "shop", "shop:v1", "/shop", "off", "9" * 40 + "h"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words | _scalars, inner, max_size=4),
    max_leaves=8,
)
_documents = st.dictionaries(_words, _values, max_size=5).map(lambda found: {"name": "shop", "bento": "shop"} | found)
_texts = st.one_of(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=60),
    st.text(alphabet="[]{}:-,?&*!|>%@`'\"# \n\tab1.~", max_size=40),
    _documents.map(lambda found: yaml.safe_dump(found, allow_unicode=True)),
)


@given(text=_texts)
@example(text="[" * 5000)
@example(text="&a [*a]")
@example(text="name: &a {b: *a}\nbento: *a\n")
@example(text="name: " + "9" * 5000)
@example(text="? [a]\n: b")
@example(text="? {a: b}\n: b")
@example(text="1: 2\nnull: 3\n")
@example(text='gates: {load: {locustfile: "a\\0b"}}\nname: shop\nbento: shop')
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_request_or_a_mistake_of_the_user(tmp_path: Path, text: str) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(text.encode())
    read_or_told = _request_or_mistake(path)
    if isinstance(read_or_told, SpecError):
        assert read_or_told.problem.startswith(str(path))
        assert read_or_told.fix
    else:
        assert Request.model_validate(sent(read_or_told)) == read_or_told


def _request_or_mistake(path: Path) -> Request | SpecError:
    try:
        return read(path)
    except SpecError as mistake:
        return mistake


def sent(request: Request) -> Any:
    """As it arrives at the API."""
    return json.loads(json.dumps(request.model_dump(mode="json"), allow_nan=False))


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=366)))
@settings(max_examples=50, deadline=None)
def test_a_duration_arrives_at_the_api_as_it_was_meant(meant: timedelta) -> None:
    spec = DeploymentFile.model_validate({"name": "a", "bento": "a", "strategy": {"bake": meant}})
    request = Request(spec=spec)
    assert abs(Request.model_validate(sent(request)).spec.strategy.bake - meant) <= timedelta(microseconds=1)
