"""A verdict as a page, as Markdown, and as JUnit: whole, and safe to look at."""

import html
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import pytest

from noren.domain.deployment import LoadGate, Slo
from noren.domain.verdict import Check, Outcome, Verdict
from noren.gates import duet, load, report
from noren.gates.conclusion import conclude
from noren.gates.duet import ROW, Measured, Plan, Samples, Target
from noren.gates.junit import junit
from noren.gates.markdown import markdown

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOSTILE = '<script>alert(1)</script> | `rm` & "x" \x00'


def verdict(*checks: Check) -> Verdict:
    made = conclude(checks, revision="tea-2", attempt=1, started_at=NOON, folder=Path("/evidence"))
    return replace(made, ended_at=NOON + timedelta(seconds=45))


PASSED = Check(name="p50", outcome=Outcome.PASS, detail="1.00x")
FAILED = Check(name="errors", outcome=Outcome.FAIL, detail=HOSTILE)
HELD = Check(name="p99", outcome=Outcome.HOLD, detail="across the margin")
BROKEN = Check(name="trust", outcome=Outcome.INVALID, detail="late")


def test_junit_has_a_case_for_each_check_and_counts_what_did_not_pass() -> None:
    suite = Xml.fromstring(junit(verdict(PASSED, FAILED, HELD, BROKEN)))  # noqa: S314  our own

    counts = [suite.get(name) for name in ("tests", "failures", "errors", "time")]
    assert counts == ["4", "2", "1", "45.000"]
    assert [case.get("name") for case in suite] == ["p50", "errors", "p99", "trust"]
    failure = suite[1].find("failure")
    assert failure is not None
    assert failure.get("message") == HOSTILE.replace("\x00", "?")


def test_markdown_shows_what_was_said_and_not_what_it_would_do() -> None:
    text = markdown(verdict(PASSED, FAILED))

    assert text.startswith("### ❌ FAIL: \\<script\\>")
    assert "| ✅ PASS | p50 | 1.00x |" in text
    assert not re.search(r"(?<!\\)[<`]", text)
    rows = [line for line in text.splitlines() if line.startswith("| ❌")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [4]


def folder_of_a_duet(folder: Path, *, blue: bool = True) -> Verdict:
    arms = ("green", "blue") if blue else ("green",)
    plan = Plan(
        targets={arm: Target(url=f"http://{arm}") for arm in arms},
        gate=LoadGate(warmup=timedelta(seconds=2)),
        slo=Slo(p95_ms=100),
        seed=3,
    )
    duet.write_plan(folder, plan)
    rng = np.random.default_rng(1)
    for arm in arms:
        rows = np.zeros(2400, dtype=ROW)
        rows["due_s"] = np.linspace(-2, 44.9, 2400)
        rows["latency_ms"] = rng.lognormal(3, 0.3, 2400)
        rows["ok"] = True
        (folder / f"{arm}.rows").write_bytes(rows.tobytes())
    measured = Measured(
        arms={arm: Samples(rows=np.empty(0, dtype=ROW), failures={HOSTILE: 3}) for arm in arms},
        endpoints=("POST /brew",),
        arrivals=2300,
        elapsed_s=45.0,
        generator_cpu=0.123,
        dispatch_lag_p99_ms=3.21,
        ended=True,
    )
    duet.write_measured(folder, measured, dict.fromkeys(arms, 2400))
    (folder / duet.MEASURED).rename(folder / duet.look_file(3))
    return verdict(*load.replay(folder))


@pytest.mark.parametrize("blue", [True, False])
def test_the_page_shows_all_of_it_and_needs_nothing_else(tmp_path: Path, blue: bool) -> None:
    made = folder_of_a_duet(tmp_path, blue=blue)
    assert made.outcome is Outcome.PASS, made

    report.write(tmp_path, made)
    page = (tmp_path / report.REPORT).read_text()

    for said in (made.reason, *(check.detail for check in made.checks)):
        assert said in html.unescape(page)
    assert page.count("<svg") == (3 if blue else 2)
    assert "12 %" in page  # the generator's CPU
    assert "3.2 ms" in page
    assert ("there was no baseline" in page) == (not blue)
    assert "<script" not in page
    assert not re.search(r'(src|href)\s*=\s*"(?!#|data:)', page)
    assert len(page) < 400_000
    assert report.html(made, tmp_path) == page  # the same evidence, the same page


def test_a_verdict_without_a_duet_has_a_page_too(tmp_path: Path) -> None:
    report.write(tmp_path, verdict(FAILED))
    page = (tmp_path / report.REPORT).read_text()

    assert "&lt;script&gt;alert(1)" in page
    assert "<svg" not in page


def test_evidence_is_readable_json_and_rows(tmp_path: Path) -> None:
    folder_of_a_duet(tmp_path)
    seen = json.loads((tmp_path / "look-3.json").read_text())
    assert seen["arms"]["green"] == {"rows": 2400, "failures": {HOSTILE: 3}}
    assert duet.last_look(tmp_path) == 3
    assert duet.read_measured(tmp_path) is None  # measured.json itself


def test_a_page_that_cannot_be_drawn_takes_no_verdict_with_it(tmp_path: Path) -> None:
    made = folder_of_a_duet(tmp_path)
    (tmp_path / "green.rows").unlink()

    report.write(tmp_path, made)

    assert not (tmp_path / report.REPORT).exists()
    assert "green.rows" in (tmp_path / "gate.log").read_text()
