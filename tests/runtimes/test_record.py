"""What is remembered of replicas: when the next launch may be, when one is given up, and what is said of its end."""

import time
from pathlib import Path

import pytest

from noren.control.ports import Replica, ReplicaState
from noren.machine import why
from noren.runtimes.record import Record, Records


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Records:
    """With a clock that stands still at 1000 s, unless `go_on` is called."""
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    return Records(tmp_path)


def go_on(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.time() + seconds
    monkeypatch.setattr(time, "time", lambda: now)


def crashed(records: Records) -> Replica:
    ((name, record),) = records.wanted().items()
    return records.crashed(name, record)


@pytest.mark.parametrize(("ends", "pause_s"), [(1, 0.5), (2, 1), (3, 2), (7, 32), (8, 60), (50, 60)])
def test_each_short_life_doubles_the_pause_up_to_a_minute(ends: int, pause_s: float) -> None:
    record = Record(exits=["x"] * ends, exited_at=1000.0)
    assert not record.due(1000.0)
    assert not record.due(1000.0 + pause_s - 0.1)
    assert record.due(1000.0 + pause_s)


def test_a_clock_that_is_set_back_during_the_pause_does_not_prolong_it(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.begin("shop-1/0")
    crashed(records)
    go_on(monkeypatch, -3600)
    assert records.begin("shop-1/0")
    crashed(records)
    assert not records.begin("shop-1/0")  # from its next end on the clock is right


def test_who_crashes_for_days_is_still_started_again_every_minute(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(1100):
        assert records.begin("shop-1/0")
        crashed(records)
        go_on(monkeypatch, 60)
    assert len(records.wanted()["shop-1/0"].exits) < 10


def test_three_short_lives_in_a_row_are_a_crash_loop(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    for _ in range(3):
        assert records.begin("shop-1/0")
        states.append(crashed(records).state)
        assert not records.begin("shop-1/0")  # not at once
        go_on(monkeypatch, 5)
    assert states == [ReplicaState.WAITING, ReplicaState.WAITING, ReplicaState.BROKEN]
    assert crashed(records).restarts == 2


def test_a_long_life_is_forgiven(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        assert records.begin("shop-1/0")
        go_on(monkeypatch, 61)
        assert crashed(records).state is ReplicaState.WAITING
        go_on(monkeypatch, 1)


def fill_the_disk(records: Records) -> Path:
    """Nothing of shop-1/0 can be written from now on, until what is returned is removed."""
    obstacle = records.folder / "shop-1/.0.json.new"
    obstacle.mkdir(parents=True)
    return obstacle


def test_on_a_full_disk_who_died_is_started_again_with_the_same_pauses(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.begin("shop-1/0")
    full = fill_the_disk(records)

    assert crashed(records).state is ReplicaState.WAITING
    assert not records.begin("shop-1/0")
    go_on(monkeypatch, 0.6)
    assert records.begin("shop-1/0")
    assert crashed(records).restarts == 1
    go_on(monkeypatch, 0.6)
    assert not records.begin("shop-1/0")

    full.rmdir()
    go_on(monkeypatch, 1)
    assert records.begin("shop-1/0")
    assert Records(records.folder.parent).wanted()["shop-1/0"].launches == 3


def test_what_a_full_disk_did_not_take_is_forgotten_with_the_revision(records: Records) -> None:
    records.begin("shop-1/0")
    fill_the_disk(records)
    crashed(records)
    records.forget("shop-1")

    assert records.begin("shop-1/0")
    assert records.wanted()["shop-1/0"] == Record(launches=1, launched_at=1000.0)


def test_on_a_full_disk_nothing_is_started_that_nobody_would_know_is_wanted(records: Records) -> None:
    fill_the_disk(records)
    with pytest.raises(OSError, match=r"0\.json"):
        records.begin("shop-1/0")
    assert records.wanted() == {}


def test_what_is_forgotten_begins_anew_and_its_log_stays(records: Records) -> None:
    records.begin("shop-1/0")
    records.begin("shop-2/10")
    records.log("shop-1/0").parent.mkdir()
    records.log("shop-1/0").write_text("Error: no\n")
    assert records.wanted().keys() == {"shop-1/0", "shop-2/10"}
    assert records.crashed("shop-1/0", records.wanted()["shop-1/0"]).detail == "Error: no"

    records.forget("shop-1")
    assert records.wanted().keys() == {"shop-2/10"}
    assert records.logs("shop-1") == {0: records.log("shop-1/0")}
    assert records.begin("shop-1/0")


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ([], "it ended without a word"),
        (["", " "], "it ended without a word"),
        (["a", "b"], "a\nb"),
        (["a", "KeyError: 'x'", "bye"], "KeyError: 'x'\nbye"),
        (["noren: first", "noren: x\n", "  fix: y"], "noren: x\n  fix: y"),
        (["Error", *"abcdefgh"], "d\ne\nf\ng\nh"),
    ],
)
def test_the_last_words_are_those_from_the_last_error_on_and_at_most_five_lines(log: list[str], said: str) -> None:
    assert why(log) == said
