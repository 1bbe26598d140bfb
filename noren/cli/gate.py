"""noren gate: a load test of two URLs, with a verdict, for any CI."""

import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from urllib.parse import urlsplit

import typer
from rich.progress import BarColumn, Progress, TextColumn
from typer.core import TyperGroup

from noren.api.schemas import VerdictView
from noren.cli.console import AsJson, errors, print_json
from noren.cli.verdict import print_verdict
from noren.domain.deployment import LoadGate
from noren.domain.errors import SpecError
from noren.domain.verdict import Outcome, Verdict
from noren.manifests import terms_file

if TYPE_CHECKING:
    from noren.gates.duet import Measured

EXIT_CODES = {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.HOLD: 2, Outcome.INVALID: 3}
_USAGE = 64  # EX_USAGE of sysexits.h: 2 is taken
_PLAIN_EVERY_S = 5.0


class _Group(TyperGroup):
    """A wrong command line must not look like a verdict."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """See click."""
        with _usage():
            return super().make_context(*args, **kwargs)

    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        """See click."""
        with _usage():
            return super().invoke(*args, **kwargs)


@contextmanager
def _usage() -> Iterator[None]:
    """End with the exit code of a wrong command line where click would end with 2."""
    try:
        yield
    except SpecError as error:
        _wrong(error.problem, error.fix)
    except Exception as error:
        # Some versions of Typer bring a click of their own, so its UsageError has no one name.
        if not hasattr(error, "format_message"):
            raise
        _wrong(error.format_message(), "noren gate --help")


app = typer.Typer(cls=_Group, invoke_without_command=True, help="Judge a service by a load test beside another.")


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
    """Send the same requests to a candidate and a baseline at the same time, and say whether the candidate is worse.

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
    with _Progress(question.gate, silent=as_json) as progress:
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


def _wrong(problem: str, fix: str) -> NoReturn:
    errors.print("error:", problem, style="red", markup=False, highlight=False, soft_wrap=True)
    errors.print("  fix:", fix, markup=False, highlight=False, soft_wrap=True)
    sys.exit(_USAGE)


class _Progress:
    """How far the measurement is: a bar in a terminal, now and then a line elsewhere."""

    def __init__(self, gate: LoadGate, *, silent: bool) -> None:
        self._total_s, self._silent, self._said_at = gate.duration.total_seconds(), silent, 0.0
        self._bar = Progress(TextColumn("{task.description}"), BarColumn(), console=errors, transient=True)
        self._shown = errors.is_terminal and not silent
        self._task = self._bar.add_task("warming up", total=self._total_s)

    def __enter__(self) -> "_Progress":
        if self._shown:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, measured: "Measured") -> None:
        """Show what has been measured."""
        counted = {name: arm.until(math.inf) for name, arm in measured.arms.items()}  # without the warm-up
        counts = [f"{name} {arm.requests} requests, {arm.errors} errors" for name, arm in counted.items()]
        said = f"{measured.elapsed_s:.0f} of at most {self._total_s:.0f} s: " + "; ".join(counts)
        if self._shown:
            self._bar.update(self._task, completed=measured.elapsed_s, description=said)
        elif not self._silent and measured.elapsed_s >= self._said_at + _PLAIN_EVERY_S:
            self._said_at = measured.elapsed_s
            errors.print(said, markup=False)
