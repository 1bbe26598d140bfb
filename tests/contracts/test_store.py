"""What every store promises, run by each of them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from noren.control.ports import Event, Lease, Memory
from noren.domain.commands import Deployment
from noren.domain.deployment import Gates, LoadGate, Margins, Resources, Revision, Route, Server, Slo, Strategy
from noren.domain.errors import NotFound, Stale
from noren.domain.observation import Counts
from noren.domain.rollout import Rollout
from noren.domain.verdict import Check, Outcome, Verdict
from noren.stores.memory import MemoryStore
from noren.stores.sql import SqlStore

NOON = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)

# No field has its default value: a field that a store forgets is noticed.
REVISION = Revision(
    deployment="shop",
    number=7,
    bento="shop:v7",
    replicas=3,
    workers=2,
    server=Server.BENTOML,
    resources=Resources(cpu=0.25, memory_bytes=2**40),
    env={"GREETING": "grüß dich\n\0", "EMPTY": ""},
    route=Route(prefix="/shop/v1", host="shop.example"),
    slo=Slo(p50_ms=1.5, p95_ms=20, p99_ms=99.9, error_rate=0.0001),
    gates=Gates(
        smoke=False,
        load=LoadGate(
            enabled=False,
            locustfile="class User: ...\n",
            rate=0.1,
            warmup=timedelta(milliseconds=1),
            duration=timedelta(days=2, microseconds=3),
            margins=Margins(p50=0.01, p95=0.5, p99=9, errors=0.5),
            slack_ms=0,
            launch_sigma=0.5,
        ),
    ),
    strategy=Strategy(
        steps=(1, 100),
        step_wait=timedelta(0),
        bake=timedelta(milliseconds=1500),
        ready_within=timedelta(days=30),
        gate_within=timedelta(seconds=1),
        hold_within=timedelta(hours=25),
        drain_within=timedelta(microseconds=1),
    ),
)
VERDICT = Verdict(
    revision="shop-7",
    attempt=2,
    outcome=Outcome.HOLD,
    reason="p95 is too close to call",
    checks=(
        Check(name="smoke", outcome=Outcome.PASS, detail="3 of 3", figures={}),
        Check(name="load", outcome=Outcome.HOLD, detail="1.02 ± 0.1", figures={"p95_ms": 1e-300, "ratio": 1 / 3}),
    ),
    started_at=NOON,
    ended_at=NOON + timedelta(microseconds=1),
    evidence="/home/gates/shop-7",
)
ROLLOUT = Rollout(
    green=REVISION,
    blue=replace(REVISION, number=6, gates=Gates(), env={}),
    started_at=NOON,
    trusted=True,
    running_at=NOON + timedelta(seconds=1),
    ready_at=NOON + timedelta(seconds=2),
    attempt=2,
    attempt_at=NOON + timedelta(seconds=3),
    verdict=VERDICT,
    held_at=NOON + timedelta(seconds=4),
    approved=True,
    step=1,
    step_at=NOON + timedelta(seconds=5),
    counted_from=Counts(requests=10**12, errors=3),
    step_green=Counts(requests=1, errors=1),
    step_blue=Counts(requests=2, errors=0),
    switched_at=NOON + timedelta(seconds=6),
    paused=True,
    rushed=True,
    emergency=3,
    superseded_by=8,
    failure="too late",
    failed_at=NOON + timedelta(seconds=7),
    released=True,
    ended_at=NOON + timedelta(seconds=8),
)
DEPLOYMENT = Deployment(
    name="shop",
    live=replace(REVISION, number=6),
    previous=replace(REVISION, number=5),
    rollout=ROLLOUT,
    last_verdict=VERDICT,
    queued=replace(REVISION, number=8),
    queued_emergency=True,
    removed=True,
    revisions=8,
)


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.e2e)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Memory]:
    if request.param == "memory":
        yield MemoryStore()
        return
    asked = request.param == "postgresql"
    made = SqlStore(request.getfixturevalue("postgresql").new_url() if asked else f"sqlite:///{tmp_path / 'noren.db'}")
    yield made
    made.engine.dispose()


def event(message: str) -> Event:
    return Event(at=NOON, kind="state", message=message)


def messages(store: Memory, name: str = "shop", *, after: int = 0) -> list[str]:
    return [event.message for event in store.events(name, after=after)]


def test_every_field_comes_back_as_it_was_saved(store: Memory) -> None:
    saved = store.save(DEPLOYMENT, revision=REVISION, verdict=VERDICT, events=[event("grüß dich")])

    assert saved == replace(DEPLOYMENT, version=1)
    assert store.load("shop") == saved
    assert store.deployments() == [saved]
    assert store.names() == ["shop"]
    assert store.revisions("shop") == [REVISION]
    assert store.verdicts("shop") == [VERDICT]
    (told,) = store.events("shop")
    assert replace(told, id=0, deployment="") == event("grüß dich")
    assert told.at.tzinfo is UTC


def test_a_deployment_without_anything_comes_back_too(store: Memory) -> None:
    saved = store.save(Deployment(name="bare"))

    assert store.load("bare") == saved == Deployment(name="bare", version=1)
    assert (store.revisions("bare"), store.verdicts("bare"), store.events("bare")) == ([], [], [])


def test_each_save_raises_the_version_by_one(store: Memory) -> None:
    first = store.save(Deployment(name="shop"))
    second = store.save(replace(first, removed=True))

    assert (first.version, second.version) == (1, 2)
    assert store.load("shop") == second


def test_a_writer_that_comes_too_late_changes_nothing(store: Memory) -> None:
    loaded = store.save(DEPLOYMENT, events=[event("first")])
    winner = store.save(replace(loaded, revisions=9), events=[event("second")])

    with pytest.raises(Stale, match="shop was changed by someone else"):
        store.save(replace(loaded, revisions=99), events=[event("late")], revision=REVISION, verdict=VERDICT)

    assert store.load("shop") == winner
    assert messages(store) == ["first", "second"]
    assert store.revisions("shop") == []
    assert store.verdicts("shop") == []


def test_of_two_first_saves_of_one_name_the_second_is_too_late(store: Memory) -> None:
    winner = store.save(DEPLOYMENT, events=[event("first")])

    with pytest.raises(Stale):
        store.save(Deployment(name="shop"), events=[event("late")], revision=REVISION)

    assert store.load("shop") == winner
    assert messages(store) == ["first"]
    assert store.revisions("shop") == []


def test_a_deployment_deleted_by_someone_else_cannot_be_saved(store: Memory) -> None:
    loaded = store.save(DEPLOYMENT)
    store.delete("shop")

    with pytest.raises(Stale):
        store.save(loaded, events=[event("late")])

    assert store.deployments() == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.load("shop"),
        lambda store: store.revisions("shop"),
        lambda store: store.verdicts("shop"),
        lambda store: store.events("shop"),
    ],
    ids=["load", "revisions", "verdicts", "events"],
)
def test_an_unknown_name_is_not_found(store: Memory, ask: Callable[[Memory], object]) -> None:
    store.save(Deployment(name="other"))

    with pytest.raises(NotFound, match="no deployment named 'shop'"):
        ask(store)


def test_delete_removes_the_deployment_with_its_revisions_and_no_other(store: Memory) -> None:
    for name in ("shop", "other"):
        deployment = replace(DEPLOYMENT, name=name)
        revision = replace(REVISION, deployment=name)
        store.save(deployment, events=[event(name)], revision=revision, verdict=VERDICT)

    store.delete("shop")
    store.delete("shop")  # a crash between deleting and knowing it repeats the action

    assert [d.name for d in store.deployments()] == ["other"]
    assert messages(store, "other") == ["other"]
    assert len(store.revisions("other")) == len(store.verdicts("other")) == 1
    store.save(Deployment(name="shop"))
    assert (store.revisions("shop"), store.verdicts("shop")) == ([], [])


ASKED = Event(
    at=NOON,
    kind="promote",
    message="promote shop",
    who="ada",
    claimed=True,
    reason="blue answers 500, grüß dich",
    before={"live": "shop-1", "weights": {"shop-1": 100}, "step": None},
    after={"live": "shop-1", "weights": {"shop-1": 50, "shop-2": 50}, "step": 0, "marks": ["emergency"]},
)


def test_who_asked_for_what_and_why_comes_back_as_it_was_written(store: Memory) -> None:
    store.save(Deployment(name="shop"), events=[ASKED])
    store.note("shop", replace(ASKED, kind="refused"))
    store.note("", replace(ASKED, kind="prune"))

    lines = store.history()
    assert [replace(line, id=0) for line in lines] == [
        replace(ASKED, deployment="shop"),
        replace(ASKED, deployment="shop", kind="refused"),
        replace(ASKED, deployment="", kind="prune"),
    ]
    assert [line.id for line in lines] == sorted({line.id for line in lines})
    assert store.events("shop") == store.history("shop") == lines[:2]
    assert store.load("shop").version == 1  # a note is nothing that anyone has to load again for


def test_what_happened_to_a_deployment_stays_when_it_is_deleted(store: Memory) -> None:
    store.save(Deployment(name="shop"), events=[event("made")])
    store.delete("shop", events=[event("gone")])
    store.delete("shop", events=[event("gone")])  # a crash between deleting and knowing it repeats the action

    assert [line.message for line in store.history("shop")] == ["made", "gone"]
    store.save(Deployment(name="shop"), events=[event("made again")])
    assert [line.message for line in store.history("shop")] == ["made", "gone", "made again"]
    assert store.history("nosuch") == []


def test_of_history_the_newest_lines_are_given_oldest_first_and_those_since_a_time(store: Memory) -> None:
    later = [replace(event(str(n)), at=NOON + timedelta(hours=n)) for n in range(5)]
    store.save(Deployment(name="shop"), events=later[:2])
    store.save(Deployment(name="other"), events=later[2:])

    def told(**asked: Any) -> list[str]:
        return [line.message for line in store.history(**asked)]

    assert told() == ["0", "1", "2", "3", "4"]
    assert told(limit=2) == ["3", "4"]
    assert told(since=NOON + timedelta(hours=3)) == ["3", "4"]
    tokyo = timezone(timedelta(hours=9))
    assert told(since=(NOON + timedelta(hours=1)).astimezone(tokyo), name="shop") == ["1"]
    assert told(since=NOON + timedelta(hours=1), limit=1) == ["4"]


def test_event_ids_rise_over_all_deployments_and_are_never_given_twice(store: Memory) -> None:
    shop = store.save(Deployment(name="shop"), events=[event("a"), event("b")])
    store.save(Deployment(name="other"), events=[event("c")])
    store.save(shop, events=[event("d")])
    ids = [e.id for e in store.events("shop")]
    assert ids == sorted(set(ids))
    assert ids[0] > 0

    store.delete("shop")
    store.delete("other")
    store.save(Deployment(name="shop"), events=[event("e")])

    # Who followed the deleted one asks for what came after its last event.
    assert messages(store, after=ids[-1]) == ["e"]


def test_events_come_oldest_first_and_only_those_after_the_id(store: Memory) -> None:
    store.save(Deployment(name="shop"), events=[event("a"), event("b"), event("c")])
    first, second, third = store.events("shop")

    assert [e.message for e in (first, second, third)] == ["a", "b", "c"]
    assert messages(store, after=first.id) == ["b", "c"]
    assert messages(store, after=third.id) == []


def test_at_most_1000_events_are_given_at_once_and_the_rest_can_be_asked_for(store: Memory) -> None:
    store.save(Deployment(name="shop"), events=[event(str(number)) for number in range(1005)])

    page = store.events("shop")

    assert [e.message for e in page] == [str(number) for number in range(1000)]
    assert messages(store, after=page[-1].id) == ["1000", "1001", "1002", "1003", "1004"]


def test_deployments_come_by_name_and_history_in_the_order_it_was_made(store: Memory) -> None:
    for name in ("b", "c", "a"):
        store.save(Deployment(name=name))
    shop = Deployment(name="shop")
    for number in (1, 2, 10):
        revision, verdict = replace(REVISION, number=number), replace(VERDICT, revision=f"shop-{number}")
        shop = store.save(shop, revision=revision, verdict=verdict)

    assert [d.name for d in store.deployments()] == ["a", "b", "c", "shop"]
    assert [r.number for r in store.revisions("shop")] == [1, 2, 10]
    assert [v.revision for v in store.verdicts("shop")] == ["shop-1", "shop-2", "shop-10"]


def test_a_look_at_all_is_never_an_earlier_one(store: Memory) -> None:
    first = store.save(Deployment(name="shop", revisions=1))
    assert store.deployments() == [first]
    assert store.deployments() == [first]
    store.delete("shop")
    anew = store.save(Deployment(name="shop", revisions=2))
    assert anew.version == first.version
    assert store.deployments() == [anew]
    changed = store.save(replace(anew, removed=True))
    assert store.deployments() == [changed]


def test_what_was_loaded_does_not_change_with_later_saves(store: Memory) -> None:
    store.save(DEPLOYMENT, revision=REVISION)
    loaded, revisions = store.load("shop"), store.revisions("shop")

    store.save(replace(loaded, live=None), revision=replace(REVISION, number=8))

    assert loaded == replace(DEPLOYMENT, version=1)
    assert revisions == [REVISION]


def test_what_could_not_be_measured_comes_back_as_that(store: Memory) -> None:
    check = Check(name="p95", outcome=Outcome.INVALID, detail="", figures={"ratio": math.nan, "blue_ms": math.inf})
    verdict = replace(VERDICT, checks=(check,))

    saved = store.save(replace(DEPLOYMENT, last_verdict=verdict), verdict=verdict)

    assert store.load("shop").version == saved.version
    (found,) = store.verdicts("shop")
    figures = found.checks[0].figures
    assert math.isnan(figures["ratio"])
    assert figures["blue_ms"] == math.inf


def test_no_decision_is_lost_for_the_characters_that_a_service_writes_into_its_log(store: Memory) -> None:
    said = "shop-2 keeps crashing: \0 \ud800 \x1b[31m grüß"
    rollout = replace(ROLLOUT, failure="it said \0")

    store.save(replace(DEPLOYMENT, rollout=rollout), events=[event(said)])

    assert store.load("shop").rollout == rollout
    (told,) = messages(store)
    assert told.startswith("shop-2 keeps crashing: ")
    assert told.endswith("\x1b[31m grüß")


# Who leads

NOBODY = Lease()
FIRST = Lease(holder="kitchen http://127.0.0.1:7410", epoch=1, beat=1, seconds=5.0, at=NOON)
SECOND = Lease(holder="kitchen http://127.0.0.1:7411", epoch=2, beat=2, seconds=0.5, at=NOON + timedelta(seconds=9))


def test_a_new_store_has_a_lease_that_nobody_has(store: Memory) -> None:
    assert store.lease() == NOBODY


def test_every_field_of_a_lease_comes_back_as_it_was_written(store: Memory) -> None:
    assert store.take(FIRST, instead_of=NOBODY)

    assert store.lease() == FIRST
    assert store.lease().at.tzinfo is UTC


def test_of_two_that_take_the_same_lease_the_second_is_told_no(store: Memory) -> None:
    assert store.take(FIRST, instead_of=NOBODY)
    assert not store.take(SECOND, instead_of=NOBODY)
    assert store.lease() == FIRST

    assert store.take(replace(FIRST, beat=2), instead_of=FIRST)
    assert not store.take(replace(SECOND, beat=3), instead_of=FIRST)  # the holder gave a sign of life in between
    assert store.lease() == replace(FIRST, beat=2)


def test_a_save_of_who_leads_no_more_changes_nothing(store: Memory) -> None:
    store.take(FIRST, instead_of=NOBODY)
    loaded = store.save(DEPLOYMENT, events=[event("of the first")], epoch=1)
    store.take(SECOND, instead_of=FIRST)

    late = replace(loaded, revisions=99)
    for epoch in (0, 1, 3):
        with pytest.raises(Stale, match="another control plane"):
            store.save(late, events=[event("late")], revision=REVISION, verdict=VERDICT, epoch=epoch)
        with pytest.raises(Stale, match="another control plane"):
            store.delete("shop", epoch=epoch)
        with pytest.raises(Stale, match="another control plane"):
            store.save(Deployment(name="new"), epoch=epoch)

    assert store.deployments() == [loaded]
    assert messages(store) == ["of the first"]
    assert store.revisions("shop") == []
    assert store.verdicts("shop") == []
    assert store.save(loaded, epoch=2).version == 2


def test_a_command_may_be_stored_by_any_control_plane(store: Memory) -> None:
    store.take(FIRST, instead_of=NOBODY)
    store.take(SECOND, instead_of=FIRST)

    saved = store.save(DEPLOYMENT, revision=REVISION)

    assert store.save(saved).version == 2
    store.delete("shop")
    assert store.deployments() == []
