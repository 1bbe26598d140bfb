"""The pure parts of `python -m benchmarks.chaos`: what counts as failed, what is kept, rows, the table."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos import __main__ as command
from benchmarks.chaos import scenes, tables
from benchmarks.chaos.guests import Answer, Guests
from benchmarks.chaos.ledger import Ledger
from benchmarks.chaos.outcome import Figure, Outcome, judge
from benchmarks.chaos.scenes import SCENES


def answer(at: float = 10.0, *, wrong: str = "", again: bool = False, revision: str = "echo-2") -> Answer:
    return Answer(sent=at, ended=at + 1, revision=revision, replica=f"{revision}.0", again=again, wrong=wrong)


def outcome(**changes: Any) -> Outcome:
    fields: dict[str, Any] = {"times": 3, "requests": 50_000, "failed": 0, **changes}
    return Outcome(**fields)


def test_what_was_lost_with_a_replica_is_shown_and_is_no_failure_unless_it_could_have_been_asked_again() -> None:
    guests = Guests("http://nowhere", rate=1)
    lost, repeatable = answer(wrong="503"), answer(wrong="503", again=True)
    late, elsewhere = answer(30.0, wrong="503"), answer(wrong="503", revision="echo-1")
    guests.answers = [answer(), lost, repeatable, late, elsewhere]

    cut = scenes._cut(guests, "echo-2", 10.5, 10.6)
    judged = judge(guests.answers, times=1, excused=cut)

    assert cut == [lost]
    assert (judged.requests, judged.failed, judged.cut, judged.said) == (5, 3, 1, "3 x 503")


def test_an_outcome_is_read_as_it_was_kept_and_the_short_form_is_another(tmp_path: Path) -> None:
    kept = outcome(figures={"longest": Figure(value=4.5, unit="s", goal="<= 5")})
    Ledger(tmp_path / "runs.jsonl", short=False).keep("promote", kept)
    Ledger(tmp_path / "runs.jsonl", short=True).keep("reboot", outcome())

    assert Ledger(tmp_path / "runs.jsonl", short=False).outcomes() == {"promote": kept}
    Ledger(tmp_path / "runs.jsonl", short=False).forget(["promote", "reboot"])
    assert Ledger(tmp_path / "runs.jsonl", short=False).outcomes() == {}
    assert set(Ledger(tmp_path / "runs.jsonl", short=True).outcomes()) == {"reboot"}


def test_a_strategy_gets_where_it_is_to_stay() -> None:
    assert scenes._reaching("shifting(10)")["steps"] == [10, 100]
    assert scenes._reaching("baking")["steps"] == [100]


def test_every_event_has_a_name_of_its_own_and_an_unknown_one_is_refused() -> None:
    assert len({scene.name for scene in SCENES}) == len(SCENES)
    assert [scene.name for scene in command._chosen("reboot, promote")] == ["promote", "reboot"]
    with pytest.raises(SystemExit, match="no such event: flood"):
        command._chosen("flood")


def test_all_is_published_once_every_event_has_happened_and_only_of_the_long_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "reliability.md"
    page.write_text("before\n<!-- bench-chaos -->\nold\n<!-- /bench-chaos -->\nafter\n")
    monkeypatch.setattr(tables, "PAGE", page)
    monkeypatch.setattr("benchmarks.rows.RESULTS", tmp_path / "results")
    monkeypatch.setattr(command, "FILE", tmp_path / "runs.jsonl")
    ledger = Ledger(tmp_path / "runs.jsonl", short=False)
    for scene in SCENES[1:]:
        ledger.keep(scene.name, outcome(cut=2))

    assert command._report(ledger, {}, short=False) == 0
    assert "missing: promote" in capsys.readouterr().out
    assert "old" in page.read_text()

    ledger.keep(SCENES[0].name, outcome(failed=1))
    assert command._report(ledger, {}, short=False) == 1
    rows = json.loads((tmp_path / "results" / "chaos.json").read_text())["rows"]
    assert [row["name"] for row in rows if not row["holds"]] == [f"{SCENES[0].title}: failed"]
    text = page.read_text()
    assert f"| {SCENES[0].title} | 3 | 50,000 | **1** | 0 |" in text
    assert f"| {SCENES[1].title} | 3 | 50,000 | 0 | 2 |" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
