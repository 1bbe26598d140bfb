"""What the look-up of vulnerabilities says."""

import json
from pathlib import Path
from typing import Any

import pytest

from noren.images import audit
from noren.images.audit import Audit, argv, result
from noren.images.bento import read
from tests.images.conftest import Make

FINE = {"name": "numpy", "version": "2.4.6", "vulns": []}
BAD = {"name": "jinja2", "version": "3.1.2", "vulns": [{"id": "PYSEC-1"}, {"id": "GHSA-2"}]}
SKIPPED = {"name": "uvloop", "skip_reason": "Dependency not found on PyPI and could not be audited: uvloop (0.23.0)"}


def said(*entries: dict[str, Any]) -> str:
    return json.dumps({"dependencies": entries, "fixes": []})


def test_what_is_known_is_told_by_package() -> None:
    found = result(said(FINE, BAD), packages=2)
    assert found.vulnerable == {"jinja2 3.1.2": ["PYSEC-1", "GHSA-2"]}
    assert str(found) == "1 of 2 packages have known vulnerabilities\njinja2 3.1.2: PYSEC-1, GHSA-2"


def test_what_could_not_be_looked_up_is_no_good_news() -> None:
    assert str(result(said(FINE, SKIPPED), packages=2)) == (
        "0 of 1 packages have known vulnerabilities, 1 could not be looked up"
    )


@pytest.mark.parametrize("text", [said(SKIPPED), said(), "", "Traceback (most recent call last)", "[]", "null"])
def test_no_answer_is_said_plainly(text: str) -> None:
    assert str(result(text, packages=7)) == (
        "no vulnerability database could be reached: none of the 7 packages was looked up"
    )


def test_the_next_database_is_asked_when_one_knows_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[list[str]] = []

    def ask(service: str, lines: list[str]) -> str:
        asked.append([service, *lines])
        return said(SKIPPED) if service == "pypi" else said(FINE)

    monkeypatch.setattr(audit, "_ask", ask)
    report = tmp_path / "new" / "report.json"

    assert audit.audit(read(make(lock="numpy==2.4.6\n")), report).looked_up == 1
    assert [service for service, *_ in asked] == ["pypi", "osv"]
    assert asked[0][1] == "numpy==2.4.6"
    assert json.loads(report.read_text())["dependencies"] == [FINE]


def test_no_report_of_an_earlier_time_is_left_when_nothing_could_be_asked(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(audit, "_ask", lambda *_: "")
    report = tmp_path / "report.json"
    report.write_text("old")

    found = audit.audit(read(make()), report)

    assert found == Audit(looked_up=0, packages=found.packages, vulnerable={})
    assert not report.exists()


def test_nothing_is_resolved_or_installed() -> None:
    assert {"--no-deps", "--disable-pip"} <= set(argv("osv", Path("r.txt")))
