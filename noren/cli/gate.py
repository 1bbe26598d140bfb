"""noren gate: a load test of two URLs, with a verdict, for any CI."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import urlsplit

import typer
from typer.core import TyperGroup

from noren.api.schemas import VerdictView
from noren.cli.calibrate import calibrate
from noren.cli.console import AsJson, errors, print_json
from noren.cli.progress import LoadProgress
from noren.cli.verdict import print_verdict
from noren.domain.errors import SpecError
from noren.domain.verdict import Outcome, Verdict
from noren.manifests import terms_file

EXIT_CODES = {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.HOLD: 2, Outcome.INVALID: 3}
_USAGE = 64  # EX_USAGE of sysexits.h: 2 is taken
_CALIBRATE = "calibrate"


class _Group(TyperGroup):
    """A wrong command line must not look like a verdict."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """See click."""
        with _usage():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """See click."""
        with _usage(ctx):
            return super().invoke(ctx)


@contextmanager
def _usage(ctx: Any = None) -> Iterator[None]:
    """End with the exit code of a wrong command line where click would end with 2.

    ctx  click's, when a verb below this one may have been found; one that gives no verdict ends like all the others
    """
    try:
        yield
    except SpecError as error:
        _wrong(error.problem, error.fix, _wrong_code(ctx))
    except Exception as error:
        # Some versions of Typer bring a click of their own, so its UsageError has no one name.
        if not hasattr(error, "format_message"):
            raise
        verb = f" {_CALIBRATE}" if _wrong_code(ctx) == 2 else ""
        _wrong(error.format_message(), f"noren gate{verb} --help", _wrong_code(ctx))


def _wrong_code(ctx: Any) -> int:
    return 2 if ctx is not None and ctx.invoked_subcommand == _CALIBRATE else _USAGE


app = typer.Typer(cls=_Group, invoke_without_command=True)


Junit = Annotated[Path | None, typer.Option(metavar="FILE", help="write the verdict there as JUnit XML")]
Markdown = Annotated[Path | None, typer.Option(metavar="FILE", help="write it there as Markdown, for a comment")]
Html = Annotated[Path | None, typer.Option(metavar="FILE", help="write it there as a page with plots")]


class Mode(StrEnum):
    """How long, and how strict."""

    QUICK = "quick"
    FULL = "full"


@app.callback()
def gate(
    ctx: typer.Context,
    candidate: Annotated[str | None, typer.Option(metavar="URL", help="what is to be judged")] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="URL", help="what it is compared with; without it only limits decide")
    ] = None,
    locustfile: Annotated[Path | None, typer.Option("--locustfile", "-f", help="who asks, and what")] = None,
    slo: Annotated[
        Path | None, typer.Option(help="limits and margins: `slo:` and `load:` as in a deployment file")
    ] = None,
    mode: Annotated[Mode | None, typer.Option(help="quick: 45 s; full: 10 minutes, with smaller margins")] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, help="requests per second to each")] = None,
    duration: Annotated[str | None, typer.Option(help="at most: 45s, 10m; default by mode")] = None,
    evidence: Annotated[Path | None, typer.Option(help="folder for everything measured")] = None,
    junit: Junit = None,
    markdown: Markdown = None,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Judge a service (the candidate, "green") by a load test beside another (the baseline, "blue").

    Both are sent the same requests at the same time.
    Exit code: 0 PASS, 1 FAIL, 2 HOLD (not enough evidence), 3 INVALID (the measurement cannot be trusted), 64 usage.
    """
    from noren.gates import standalone

    if ctx.invoked_subcommand:
        return
    if not candidate or not locustfile:
        raise SpecError("nothing to judge", fix="noren gate --candidate URL --baseline URL -f loadtests/<name>.py")
    if not locustfile.is_file():
        raise SpecError(f"{locustfile}: no such file", fix="name a Locust file")
    asked = {"mode": mode and mode.value, "rate": rate, "duration": duration}
    terms = terms_file.read(slo, {key: value for key, value in asked.items() if value is not None})
    _see_writable(junit, markdown, html)
    question = standalone.Question(
        candidate=_url("--candidate", candidate),
        baseline=_url("--baseline", baseline) if baseline else None,
        locustfile=locustfile,
        gate=terms.gate(),
        slo=terms.limits(),
    )
    folder = _folder(evidence)
    with LoadProgress(question.gate, silent=as_json) as progress:
        verdict = standalone.run(question, folder, progress.tell)
    _finish(verdict, junit, markdown, html, as_json=as_json)


@app.command()
def replay(
    evidence: Annotated[Path, typer.Argument(help="the folder of a gate's run")],
    junit: Junit = None,
    markdown: Markdown = None,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Judge again what was measured: the same evidence gives the same verdict."""
    from noren.gates import standalone

    _see_writable(junit, markdown, html)
    _finish(standalone.replay(evidence), junit, markdown, html, as_json=as_json)


app.command(_CALIBRATE)(calibrate)


def _finish(
    verdict: Verdict, junit_to: Path | None, markdown_to: Path | None, html_to: Path | None, *, as_json: bool
) -> NoReturn:
    from noren.gates.junit import junit
    from noren.gates.markdown import markdown
    from noren.gates.report import html

    for path, text in ((junit_to, junit), (markdown_to, markdown), (html_to, html)):
        if path:
            path.write_text(text(verdict))
    view = VerdictView.of(verdict)
    if as_json:
        print_json(view)
    else:
        print_verdict(view)
    raise typer.Exit(EXIT_CODES[verdict.outcome])


def _see_writable(*paths: Path | None) -> None:
    """Before a minute of measuring, not after it."""
    for path in paths:
        if path:
            try:
                path.open("a").close()
            except OSError as error:
                raise SpecError(f"{path} cannot be written: {error.strerror}", fix="name another file") from error


def _folder(named: Path | None) -> Path:
    try:
        if named is None:
            return Path(tempfile.mkdtemp(prefix="noren-gate-"))
        named.mkdir(parents=True, exist_ok=True)
        if any(named.iterdir()):
            raise SpecError(f"{named} is not empty", fix="name a new folder: evidence of two runs must not mix")
    except OSError as error:
        raise SpecError(f"{named}: {error.strerror}", fix="name a folder that can be made") from error
    return named.resolve()


def _url(option: str, text: str) -> str:
    parts = urlsplit(text)
    if parts.username or parts.password:
        raise SpecError(f"{option} holds a user or a password", fix="send them as a header, from the Locust file")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SpecError(f"{option} {text!r} is no URL", fix="begin with http:// or https://")
    return text.rstrip("/")


def _wrong(problem: str, fix: str, code: int) -> NoReturn:
    errors.print("error:", problem, style="red", markup=False, highlight=False, soft_wrap=True)
    errors.print("  fix:", fix, markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)
