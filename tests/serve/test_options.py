"""What the command line takes, and how it says no."""

import subprocess
import sys

import pytest
from noren_serve.options import Options, parse


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BENTOML_PORT", "BENTOML_HOST", "BENTOML_API_WORKERS"):
        monkeypatch.delenv(name, raising=False)


def test_without_arguments_the_service_decides_and_the_limits_are_safe() -> None:
    assert parse([]) == Options(
        target=".",
        host=None,
        port=None,
        workers=None,
        working_dir=None,
        arguments={},
        fallback=False,
        preload="auto",
        max_body=100 * 1024 * 1024,
        max_concurrency=0,
        max_requests=0,
        max_requests_jitter=0,
        drain_s=30.0,
        keep_alive_s=5,
        backlog=65535,
        deployed=False,
    )


def test_the_words_of_bentoml_serve_mean_the_same_here() -> None:
    options = parse(["service:Svc", "-p", "4000", "--host", "::1", "--api-workers", "3", "--working-dir", "/srv"])

    assert (options.target, options.port, options.host) == ("service:Svc", 4000, "::1")
    assert (options.workers, options.working_dir) == (3, "/srv")


def test_arguments_of_the_bento_may_hold_anything_after_their_name() -> None:
    assert parse(["--arg", "a=1", "--arg", "b=x=y, z", "--arg", "c="]).arguments == {"a": "1", "b": "x=y, z", "c": ""}


def test_the_environment_of_bentoml_counts_and_the_command_line_counts_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_PORT", "4001")
    monkeypatch.setenv("BENTOML_HOST", "0.0.0.0")
    monkeypatch.setenv("BENTOML_API_WORKERS", "2")

    assert (parse([]).port, parse([]).host, parse([]).workers) == (4001, "0.0.0.0", 2)
    assert parse(["--port", "0", "--host", "127.0.0.1", "--workers", "1"]) == parse(
        ["-p", "0", "--host", "127.0.0.1", "--workers", "1"]
    )
    assert parse(["--port", "0"]).port == 0


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_PORT", "")

    assert parse([]).port is None


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--port", "65536"], "65536 is not between 0 and 65535"),
        (["--port", "-1"], "-1 is not between"),
        (["--port", "http"], "'http' is not a whole number"),
        (["--workers", "0"], "0 is not between 1 and 1024"),
        (["--max-body", "1e6"], "not a whole number"),
        (["--max-requests", "-5"], "-5 is not between"),
        (["--drain", "-1"], "-1 is not between 0 and 86400 seconds"),
        (["--drain", "nan"], "nan is not between"),
        (["--drain", "inf"], "inf is not between"),
        (["--drain", "soon"], "'soon' is not a number of seconds"),
        (["--preload", "perhaps"], "invalid choice"),
        (["--arg", "name"], "'name' is not KEY=VALUE"),
        (["--arg", "=value"], "is not KEY=VALUE"),
        (["a", "b"], "unrecognized arguments: b"),
    ],
)
def test_a_mistake_is_named_and_ends_with_2(arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(arguments)

    assert end.value.code == 2
    assert why in capsys.readouterr().err


def test_a_mistake_in_the_environment_is_named_and_ends_with_2_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENTOML_API_WORKERS", "many")

    with pytest.raises(SystemExit) as end:
        parse([])

    assert end.value.code == 2
    assert "BENTOML_API_WORKERS=many: 'many' is not a whole number" in capsys.readouterr().err


def test_the_command_line_alone_imports_nothing_but_the_standard_library() -> None:
    """The supervisor of one worker lives as long as the service, and should weigh nothing."""
    code = (
        "import sys, noren_serve.__main__, noren_serve.supervisor, noren_serve.forking;"
        "print([name for name in ('bentoml', 'uvicorn', 'numpy', 'pydantic', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == "[]"
