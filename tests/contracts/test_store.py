"""What every store promises, run by each of them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from noren.control.ports import Event, Memory
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
    removed=True,
    revisions=8,
)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Memory:
    return MemoryStore() if request.param == "memory" else SqlStore(f"sqlite:///{tmp_path / 'noren.db'}")


def event(message: str) -> Event:
    return Event(at=NOON, kind="state", message=message)


def messages(store: Memory, name: str = "shop", *, after: int = 0) -> list[str]:
    return [event.message for event in store.events(name, after=after)]


def test_every_field_comes_back_as_it_was_saved(store: Memory) -> None:
    saved = store.save(DEPLOYMENT, revision=REVISION, verdict=VERDICT, events=[event("grüß dich")])

    assert saved == replace(DEPLOYMENT, version=1)
    assert store.load("shop") == saved
    assert store.deployments() == [saved]
    assert store.revisions("shop") == [REVISION]
    assert store.verdicts("shop") == [VERDICT]
    (told,) = store.events("shop")
    assert replace(told, id=0) == event("grüß dich")
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


def test_delete_removes_the_deployment_with_its_history_and_no_other(store: Memory) -> None:
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
    assert (store.revisions("shop"), store.verdicts("shop"), store.events("shop")) == ([], [], [])


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


def test_what_was_loaded_does_not_change_with_later_saves(store: Memory) -> None:
    store.save(DEPLOYMENT, revision=REVISION)
    loaded, revisions = store.load("shop"), store.revisions("shop")

    store.save(replace(loaded, live=None), revision=replace(REVISION, number=8))

    assert loaded == replace(DEPLOYMENT, version=1)
    assert revisions == [REVISION]
