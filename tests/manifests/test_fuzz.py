"""Whatever a deployment file or a terms file is: it is right, or the mistake is told with file and line, and soon.

FUZZ_EXAMPLES=5000 looks longer.
"""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from noren.domain.deployment import Revision
from noren.domain.errors import DriverError, SpecError
from noren.manifests import terms_file
from noren.manifests.built import BentoStore
from noren.manifests.deployment_file import Request, read, read_all
from noren.manifests.terms_file import Terms

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
FULL = """\
name: shop
bento: shop:v1
replicas: 2
workers: 3
server: bentoml
resources: {cpu: 0.5, memory: 512Mi}
env: {A: text, B: "1"}
route: {prefix: /a/b, host: shop.example}
slo: {p50_ms: 1, p95_ms: 2.5, p99_ms: 3, error_rate: 0}
gates:
  smoke: on
  quality: {metric: auc, margin: 0.1, model: tea}
  load:
    locustfile: locust.py
    rate: 0.5
    duration: 10s
    margins: {p50: 0.1}
  parity: {same_model: true, ignore: ["$.at"]}
strategy:
  steps: [10, 50, 100]
  bake: 5m
  step_wait: 1.5s
"""
TERMS = "slo: {p95_ms: 250, error_rate: 0.01}\nload:\n  rate: 20\n  mode: full\n  margins: {p50: 0.1}\n"
SMALLEST = "name: shop\nbento: shop:v1\n"


class HangsError(BaseException):
    """Of no kind that anything here may catch."""


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    """A hang is an error, and not an endless test."""

    def end(*_: object) -> None:
        raise HangsError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60 + EXAMPLES)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file beside a Locust file; tests write into it what they like."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "locust.py").write_text("class User: ...\n")
    return folder / "any.yaml"


def _terms(path: Path) -> Terms:
    return terms_file.read(path, {})


READERS: dict[str, Callable[[Path], Request | Terms]] = {"deployment": read, "terms": _terms}


def told(reader: Callable[[Path], object], path: Path) -> str:
    """The mistake, of which every line names the file."""
    with pytest.raises(SpecError) as raised:
        reader(path)
    see_that_it_helps(raised.value, path)
    return raised.value.problem.replace(f"{path}:", "")


def see_that_it_helps(mistake: SpecError, path: Path) -> None:
    assert mistake.fix
    for line in mistake.problem.splitlines():
        assert line.startswith(f"{path}:")
        assert len(line) < len(str(path)) + 1500
        assert line.isprintable()
    assert len(mistake.problem.splitlines()) <= 21


def see_that_it_is_right_or_told(reader: Callable[[Path], Request | Terms], path: Path) -> None:
    try:
        found = reader(path)
    except SpecError as mistake:
        see_that_it_helps(mistake, path)
        place = mistake.problem.splitlines()[0].removeprefix(f"{path}:")
        assert re.match(r"\d+: ", place), mistake.problem
        return
    if isinstance(found, Request):
        see_that_it_can_be_sent_and_stored(found)
    else:
        assert found.gate().rate > 0


def see_that_it_can_be_sent_and_stored(request: Request) -> None:
    sent = json.dumps(request.model_dump(mode="json"), allow_nan=False).encode()
    assert Request.model_validate(json.loads(sent)) == request
    revisions = TypeAdapter(Revision)
    assert revisions.validate_json(revisions.dump_json(request.revision())) == request.revision()


# What a person, a program or a disk may do to a file that was right.
_WORDS = (
    *("\t", "\0", "\x07", "\ufeff", "\x85", "\u2028", "\ud800", "é", "\r", "\n", " ", "  "),
    *("&a ", "*a", "<<: *a", "!!int ", "!!float ", "!!binary ", "!!set ", "!!timestamp ", "!x ", "!<tag:a> "),
    *("? ", "- ", ": ", "{", "}", "[", "]", ",", "'", '"', "|", ">", "#", "%YAML 9.9\n", "---\n", "...\n", "@", "`"),
    *(r"\UFFFFFFFF", r'"\ud800"', '"\\0"', "1:1:1.5", "0x", "0o9", "1e999", ".inf", ".nan", "9" * 99, "9" * 400),
    *("~", "yes", "2026-13-45", "../../etc/passwd", "/dev/zero", "-1", "name: ", "bento: latest", "replicas: 2\n"),
)
_edits = st.lists(
    st.tuples(st.integers(0, 500), st.integers(0, 12), st.sampled_from(_WORDS) | st.text(max_size=3)), max_size=4
)


def edited(text: str, edits: list[tuple[int, int, str]]) -> bytes:
    """With each of the edits: at a place, so many characters replaced by others."""
    for place, length, word in edits:
        place %= len(text) + 1
        text = text[:place] + word + text[place + length :]
    return text.encode(errors="surrogatepass")


@pytest.mark.parametrize("kind", READERS)
@given(content=st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode(errors="surrogatepass")))
@example(content=b"")
@example(content=b"\xef\xbb\xbfname: shop\nbento: shop:v1\n")
@example(content="name: shop\n".encode("utf-16"))
@example(content=b"a: \xff")
@settings(max_examples=EXAMPLES)
def test_any_bytes_are_right_or_told(kind: str, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    see_that_it_is_right_or_told(READERS[kind], path)


@pytest.mark.parametrize(("kind", "text"), [("deployment", FULL), ("terms", TERMS), ("terms", FULL)])
@given(edits=_edits)
@settings(max_examples=EXAMPLES)
def test_what_was_right_once_is_right_or_told(
    kind: str, text: str, path: Path, edits: list[tuple[int, int, str]]
) -> None:
    path.write_bytes(edited(text, edits))
    see_that_it_is_right_or_told(READERS[kind], path)


def _places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield here
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from _places(inner, (*here, key))


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


def with_value(document: Any, place: tuple[Any, ...], value: object) -> Any:
    """The document with another value in that place."""
    if not place:
        return value
    return {**document, place[0]: with_value(document[place[0]], place[1:], value)}


@given(place=st.sampled_from([*_places(yaml.safe_load(FULL))]), value=_values)
@settings(max_examples=EXAMPLES)
def test_any_value_in_any_place_is_right_or_told(path: Path, place: tuple[Any, ...], value: object) -> None:
    path.write_text(yaml.safe_dump(with_value(yaml.safe_load(FULL), place, value), allow_unicode=True))
    see_that_it_is_right_or_told(read, path)


def laughs(levels: int, alias: str) -> str:
    """Each line is ten times the last."""
    lines = ["a0: &a0 {x: 1}"]
    for n in range(1, levels):
        ten = ", ".join([f"*a{n - 1}"] * 10)
        lines.append(f"a{n}: &a{n} {alias.format(ten)}")
    return "\n".join(lines) + "\n"


BOMBS = {
    "a billion laughs": (laughs(10, "[{}]"), "more than 20000 parts"),
    "a billion merged laughs": (laughs(10, "{{<<: [{}]}}"), "more than 20000 parts"),
    "an alias of itself": ("name: shop\nenv: &a {A: *a}\n", "2: not YAML: it contains itself"),
    "a merge of itself": ("name: shop\nenv: &a {<<: *a}\n", "2: not YAML: it contains itself"),
    "a key that is itself": ("&a {*a : 1}\n", "1: not YAML: it contains itself"),
    "deep lists": ("[" * 100_000, "1: not YAML: it is nested too deeply"),
    "deep mappings": ("".join(f"{' ' * n}a:\n" for n in range(600)), "not YAML: it is nested too deeply"),
    "aliases of aliases": (
        "- &a0 x\n" + "".join(f"- &a{n} [*a{n - 1}]\n" for n in range(1, 3000)),
        "more than 20000 parts",
    ),
    "many fields": ("".join(f"k{n}: 1\n" for n in range(20_000)), "more than 20000 parts"),
    "many mistakes": ("".join(f"k{n}: 1\n" for n in range(5_000)), "and 4982 more mistakes"),
    "many documents": (SMALLEST + "---\n" * 40_000, "3: not YAML: but found another document"),
    "a long key": ("a" * 100_000 + ": 1\n", "1: "),
    "a long field": ("? " + "a" * 100_000 + "\n: 1\n", "unknown field"),
    "a long number": ("replicas: " + "9" * 100_000, "1: not YAML: a number of 100000 characters"),
    "a long number to the base of 16": ("replicas: 0x" + "f" * 100_000, "1: not YAML: a number of 100002 characters"),
    "a long number to the base of 60": ("replicas: 1" + ":1" * 50_000, "1: not YAML: a number of 100001 characters"),
    "a long fraction to the base of 60": (
        "\nreplicas: 1" + ":1" * 49 + ":1.5",
        "2: not YAML: a number of 103 characters",
    ),
    "a number without digits": ("name: shop\nreplicas: !!int ''\n", "2: not YAML: this is no int"),
    "a fraction without digits": ("name: shop\nreplicas: !!float ''\n", "2: not YAML: this is no float"),
    "a truth that is none": ("name: shop\nreplicas: !!bool x\n", "2: not YAML: this is no bool"),
    "a day that is none": ("name: shop\nreplicas: 2026-02-30\n", "2: not YAML: day is out of range for month"),
    "a time zone that is none": ("name: 2026-01-01T00:00:00+99:00\n", "1: not YAML: "),
    "a character that is none": ('name: "\\UFFFFFFFF"\n', "1: not YAML: "),
    "half a character": (SMALLEST + 'env: {A: "\\ud800"}\n', "3: env"),
    "half a character in a name": (SMALLEST + 'gates: {quality: {metric: "\\ud800"}}\n', "3: gates.quality.metric: "),
    "a line break in a place": (SMALLEST + 'gates: {parity: {ignore: ["a\\nb"]}}\n', "3: gates.parity.ignore: "),
    "a field that moves the cursor": (SMALLEST + '"\\e[2J\\n": 1\n', "unknown field"),
    "a null byte": (SMALLEST + "env: {A: a\0b}\n", "3: not YAML: unacceptable character #x0000"),
    "a field twice": (SMALLEST + "replicas: 2\nreplicas: 3\n", "4: not YAML: replicas is there twice, first in line 3"),
    "a field twice within": (SMALLEST + "env:\n  A: 1\n  A: 2\n", "5: not YAML: A is there twice, first in line 4"),
    "code": ("name: !!python/object/apply:os.system [ls]\n", "1: not YAML: could not determine a constructor"),
    "another document": (SMALLEST + "---\n" + SMALLEST, "not YAML: but found another document"),
    "variables for no process": (SMALLEST + f"env: {{A: {'x' * 100_001}}}\n", "3: env: with 'A' it is too much"),
    "a way up in the route": (SMALLEST + "route: {prefix: /a/../b}\n", "3: route.prefix: clients leave"),
    "no label in the host": (SMALLEST + "route: {host: a..b}\n", "3: route.host: a host name has no two dots"),
    "a name for no file": (f"name: shop\nbento: {'a' * 300}\n", "2: bento: String should have at most 127 characters"),
}


@pytest.mark.parametrize(("text", "said"), BOMBS.values(), ids=BOMBS)
def test_what_is_made_to_harm_is_told(path: Path, text: str, said: str) -> None:
    path.write_bytes(text.encode())
    assert said in told(read, path)
    see_that_it_is_right_or_told(_terms, path)


def test_a_mode_that_is_none_is_told_in_both_kinds_of_files(path: Path) -> None:
    path.write_text("load: {mode: slow}\n")
    assert told(_terms, path).startswith("1: load.mode: Input should be 'quick' or 'full'")
    path.write_text(SMALLEST + "gates: {load: {mode: slow}}\n")
    assert told(read, path).startswith("3: gates.load.mode: Input should be 'quick' or 'full'")


def test_aliases_and_merges_that_mean_something_are_taken(path: Path) -> None:
    path.write_text(
        SMALLEST
        + "env: {A: &text grüß, B: *text}\nslo: &limits {p95_ms: 5, p99_ms: 9}\n"
        + "gates: {load: {margins: {<<: {p50: 0.1, p95: 0.2}, p95: 0.3}}}\n"
    )
    made = read(path).revision()
    assert made.env == {"A": "grüß", "B": "grüß"}
    assert (made.gates.load.margins.p50, made.gates.load.margins.p95) == (0.1, 0.3)


def test_a_mistake_in_what_is_merged_is_told_where_it_counts(path: Path) -> None:
    path.write_text(SMALLEST + "gates:\n  load:\n    margins:\n      <<: {p50: 0.1}\n      p50: 0\n")
    assert told(read, path).startswith("7: gates.load.margins.p50: ")


def test_a_byte_order_mark_and_line_ends_of_windows_are_no_mistake(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + SMALLEST.replace("\n", "\r\n").encode())
    assert read(path).spec.bento == "shop:v1"


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_what_is_no_file_is_told_and_not_waited_for(reader: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "circle.yaml").symlink_to(tmp_path / "circle.yaml")
    with (tmp_path / "large.yaml").open("wb") as large:
        large.truncate(100_000_000)

    assert "a pipe or a device" in told(reader, tmp_path / "pipe.yaml")
    assert "a pipe or a device" in told(reader, Path("/dev/zero"))
    assert "Is a directory" in told(reader, tmp_path / "folder.yaml")
    assert "cannot be read" in told(reader, tmp_path / "circle.yaml")
    assert "it has over 262144 bytes" in told(reader, tmp_path / "large.yaml")
    assert "File name too long" in told(reader, tmp_path / ("x" * 300))
    with pytest.raises(SpecError, match="File name too long"):
        read_all([tmp_path / ("x" * 300)])
    with pytest.raises(SpecError):
        read_all([tmp_path])


@pytest.mark.parametrize(
    ("locustfile", "said"),
    [
        ("pipe.py", "a pipe or a device"),
        ("/dev/zero", "a pipe or a device"),
        ("folder.py", "Is a directory"),
        ("large.py", "is over 1 MB"),
        ("deep.py", "is nested too deeply for Python"),
        ("latin.py", "is no Python text"),
        ("x" * 300, "File name too long"),
        ("../" * 50 + "etc/shadow\\n", "cannot be read"),
        ("\\ud800", "is no Python text"),
        ("a\\0b", "is no Python text"),
    ],
)
def test_a_locust_file_that_is_none_is_told(tmp_path: Path, locustfile: str, said: str) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    with (tmp_path / "large.py").open("wb") as large:
        large.truncate(100_000_000)
    (tmp_path / "deep.py").write_text("-" * 200_000 + "1")
    (tmp_path / "latin.py").write_bytes(b"# \xfc\n")
    path = tmp_path / "shop.yaml"
    path.write_text(SMALLEST + f'gates:\n  load:\n    locustfile: "{locustfile}"\n')
    assert said in told(read, path)


MANIFESTS = {
    "no mapping": "- a",
    "no YAML": "schema: [",
    "a billion laughs": laughs(10, "[{}]"),
    "no text": "a: \xff",
    "no routes": "schema: {routes: 7}",
    "a route without an address": "schema: {routes: [{input: {type: object}}]}",
    "a route of letters": "schema: {routes: abc}",
    "a number of items that is none": "schema: {routes: [{route: /a, input: {type: array, minItems: many}}]}",
    "no end of items": "schema: {routes: [{route: /a, input: {type: array, minItems: .inf}}]}",
    "models of letters": "models: abc",
    "services of numbers": "services: [1]",
}


@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS)
def test_a_bento_with_a_manifest_of_its_own_kind_is_told(tmp_path: Path, manifest: str) -> None:
    """Where it has something to say of it: what has no routes has no examples, and what has no models no metrics."""
    built = tmp_path / "bentos/shop/v1/bento.yaml"
    built.parent.mkdir(parents=True)
    built.write_bytes(manifest.encode("latin-1"))
    (built.parents[1] / "latest").write_bytes(b"\xff")
    store, refused = BentoStore(tmp_path), 0
    assert store.resolve("shop") == "shop:v1"
    for ask in (store.examples, store.metrics):
        try:
            ask("shop:v1")
        except DriverError as error:
            refused += 1
            assert error.fix
    assert refused


def test_an_example_stays_small_whatever_a_schema_asks_for(tmp_path: Path) -> None:
    fields = ", ".join(f"f{n}: {{$ref: '#/$defs/Node'}}" for n in range(100))
    endless = f"{{$ref: '#/$defs/Node', $defs: {{Node: {{type: object, properties: {{{fields}}}}}}}}}"
    lists = "{type: array, minItems: 9999, items: " * 3 + "{type: integer}" + "}" * 3
    huge = "{type: array, minItems: 1000000000, items: {type: integer}}"
    built = tmp_path / "bentos/shop/v1/bento.yaml"
    built.parent.mkdir(parents=True)
    routes = "\n".join(f"  - {{route: /{n}, input: {schema}}}" for n, schema in enumerate((endless, lists, huge)))
    built.write_text(f"schema:\n  routes:\n{routes}\n  - {{route: /good, input: {{type: integer}}}}\n")

    made = BentoStore(tmp_path).examples("shop:v1")

    assert made[-1]["path"] == "/good"
    assert len(json.dumps(made)) < 1_000_000
