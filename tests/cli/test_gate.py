"""The command line of `noren gate`: what is wrong with it, and with which exit code."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from noren.cli.app import app
from noren.cli.gate import EXIT_CODES
from noren.domain.verdict import Outcome

WRONG = {
    (): "nothing to judge",
    ("--candidate", "http://a"): "nothing to judge",
    ("--candidate", "http://a", "-f", "nosuchfile.py"): "nosuchfile.py: no such file",
    ("--candidate", "localhost:3000", "-f", "user.py"): "is no URL",
    ("--candidate", "http://a", "-f", "user.py", "--baseline", "ftp://b"): "--baseline 'ftp://b' is no URL",
    ("--candidate", "http://me:geheim@a", "-f", "user.py"): "--candidate holds a user or a password",
    ("--candidate", "http://a", "-f", "user.py", "--html", "nosuchfolder/x.html"): "cannot be written",
    ("--candidate", "http://a", "-f", "user.py", "--duration", "soon"): "--duration: a duration is a number",
    ("--candidate", "http://a", "-f", "user.py", "--duration", "1ms"): "--duration: a load test shorter than 1s",
    ("--candidate", "http://a", "-f", "user.py", "--rate", "many"): "--rate",
    ("--candidate", "http://a", "-f", "user.py", "--mode", "slow"): "slow",
    ("--candidate", "http://a", "-f", "user.py", "--slo", "nosuchfile.yaml"): "nosuchfile.yaml: no such file",
    ("--candidate", "http://a", "-f", "user.py", "--slo", "wrong.yaml"): "wrong.yaml:2: slo.p95_ms: Input should be",
    ("--candidate", "http://a", "-f", "user.py", "--junit", "nosuchfolder/x.xml"): "cannot be written",
    ("--candidate", "http://a", "-f", "user.py", "--evidence", "."): "is not empty",
    ("--candidate", "http://a", "-f", "user.py", "--evidence", "user.py"): "user.py",
    ("--nonsense",): "nonsense",
    ("replay", "."): "holds no evidence",
    ("replay",): "evidence",
}


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_a_wrong_command_line_is_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user.py").write_text("")
    (tmp_path / "wrong.yaml").write_text("slo:\n  p95_ms: fast\n")

    said = CliRunner().invoke(app, ["gate", *arguments])

    assert said.exit_code == 64, said.output
    assert WRONG[arguments] in said.output


def test_no_verdict_has_the_exit_code_of_a_wrong_command_line() -> None:
    assert {outcome: EXIT_CODES[outcome] for outcome in Outcome} == {
        Outcome.PASS: 0,
        Outcome.FAIL: 1,
        Outcome.HOLD: 2,
        Outcome.INVALID: 3,
    }
