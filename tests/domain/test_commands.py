"""What each verb does in each state of a deployment, as one table."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from noren.domain import commands
from noren.domain.commands import Deployment, begin_queued, ended, upheld
from noren.domain.deployment import Gates, LoadGate, Revision, Route
from noren.domain.errors import Conflict, NotFound
from noren.domain.rollout import Rollout
from noren.domain.verdict import Outcome, Verdict

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
OLD = Revision(deployment="shop", number=1, bento="shop:v1", route=Route(prefix="/shop", host="shop.localhost"))
BLUE, GREEN, NEXT = (replace(OLD, number=n, bento=f"shop:v{n}") for n in (2, 3, 4))
REVISIONS = {r.number: r for r in (OLD, BLUE, GREEN)}
PASSED = Verdict(revision="shop-3", attempt=1, outcome=Outcome.PASS, reason="", started_at=NOON, ended_at=NOON)
UNGATED = Gates(smoke=False, load=LoadGate(enabled=False))

STARTING = Rollout(green=GREEN, blue=BLUE, started_at=NOON)
GATING = replace(STARTING, running_at=NOON, ready_at=NOON, attempt=1, attempt_at=NOON)
HELD = replace(GATING, held_at=NOON)
SHIFTING = replace(GATING, verdict=PASSED, step=0, step_at=NOON)
BAKING = replace(SHIFTING, step=2, switched_at=NOON)
RELEASED = replace(BAKING, released=True)
UNDOING = replace(SHIFTING, failure="too slow", failed_at=NOON)
ROLLOUTS: dict[str, Rollout | None] = {
    "at rest": None,
    "done": replace(RELEASED, ended_at=NOON),
    "undone": replace(UNDOING, ended_at=NOON),
    "starting": STARTING,
    "gating": GATING,
    "held": HELD,
    "approved": replace(HELD, approved=True),
    "shifting": SHIFTING,
    "baking": BAKING,
    "releasing": RELEASED,
    "undoing": UNDOING,
    "going back": replace(STARTING, green=OLD, trusted=True),
    "first, baking": replace(BAKING, blue=None),
    "first, gating": replace(GATING, blue=None),
    "emergency": replace(GATING, attempt=2, emergency=2),
    "emergency, held": replace(HELD, attempt=2, emergency=2),
}

ABORTED, ROLLED_BACK = "failure=aborted by a person", "failure=rolled back by a person"
NONE_UNDER_WAY = "no rollout of shop is under way"
RULES: dict[str, dict[str, str]] = {
    "promote": {
        **dict.fromkeys(["at rest", "done", "undone"], NONE_UNDER_WAY),
        **dict.fromkeys(["starting", "gating", "first, gating"], "shop-3 has not been judged yet"),
        "going back": "shop-1 has not been judged yet",
        **dict.fromkeys(["held", "emergency, held"], "approved=True"),
        **dict.fromkeys(["approved", "shifting", "baking", "releasing", "first, baking"], "rushed=True"),
        "emergency": "shop-3 has not been judged yet",
        "undoing": "shop-3 is being undone: too slow",
    },
    "promote in an emergency": {
        **dict.fromkeys(["at rest", "done", "undone"], NONE_UNDER_WAY),
        **dict.fromkeys(["starting", "going back"], "emergency=1"),
        **dict.fromkeys(["gating", "held", "approved", "shifting"], "emergency=2"),
        **dict.fromkeys(["baking", "releasing"], "shop-3 has all traffic already"),
        **dict.fromkeys(["first, gating", "first, baking"], "shop-3 is the first revision"),
        "undoing": "shop-3 is being undone: too slow",
        "emergency": "emergency=2",
        "emergency, held": "emergency=3",
    },
    "abort": {
        **dict.fromkeys(["at rest", "done", "undone"], NONE_UNDER_WAY),
        **dict.fromkeys(["starting", "gating", "held", "approved", "shifting", "baking", "first, gating"], ABORTED),
        **dict.fromkeys(["going back", "emergency", "emergency, held"], ABORTED),
        "releasing": "shop-3 is promoted and blue is being stopped",
        "undoing": "failure=too slow",
        "first, baking": "shop-3 is the first revision: there is nothing to go back to",
    },
    "pause": {
        **dict.fromkeys(ROLLOUTS, "paused=True"),
        **dict.fromkeys(["at rest", "done", "undone"], NONE_UNDER_WAY),
    },
    "resume": {
        **dict.fromkeys(ROLLOUTS, "paused=False"),
        **dict.fromkeys(["at rest", "done", "undone"], NONE_UNDER_WAY),
    },
    "rollback": {
        **dict.fromkeys(["at rest", "done", "undone"], "green=shop-1"),
        **dict.fromkeys(["starting", "gating", "held", "approved", "shifting", "baking"], ROLLED_BACK),
        **dict.fromkeys(["first, gating", "emergency", "emergency, held"], ROLLED_BACK),
        "releasing": "a rollout of shop-3 is under way",
        "going back": "shop is going back to shop-1 already (starting)",
        "undoing": "failure=too slow",
        "first, baking": "shop-3 is the first revision: there is nothing to go back to",
    },
    "rollback to blue": {
        **dict.fromkeys(["at rest", "done", "undone"], "shop-2 is the live revision"),
        **dict.fromkeys(["starting", "gating", "held", "approved", "shifting", "baking"], ROLLED_BACK),
        **dict.fromkeys(["emergency", "emergency, held"], ROLLED_BACK),
        "first, gating": "shop-2 is the live revision",
        "releasing": "shop-2 is the live revision",
        "going back": "shop is going back to shop-1 already (starting)",
        "undoing": "failure=too slow",
        "first, baking": "shop-2 is the live revision",
    },
    "rollback to the first": {
        **dict.fromkeys(ROLLOUTS, "a rollout of shop-3 is under way"),
        **dict.fromkeys(["at rest", "done", "undone"], "green=shop-1"),
        "going back": "shop is going back to shop-1 already (starting)",
    },
}
VERBS: dict[str, Callable[[Deployment], Deployment]] = {
    "promote": commands.promote,
    "promote in an emergency": lambda d: commands.promote(d, emergency=True),
    "abort": lambda d: commands.abort(d, NOON),
    "pause": commands.pause,
    "resume": commands.resume,
    "rollback": lambda d: commands.rollback(d, NOON, revisions=REVISIONS),
    "rollback to blue": lambda d: commands.rollback(d, NOON, revisions=REVISIONS, to=2),
    "rollback to the first": lambda d: commands.rollback(d, NOON, revisions=REVISIONS, to=1),
}


def deployment(rollout: Rollout | None = None, **changes: object) -> Deployment:
    made = Deployment(name="shop", live=BLUE, previous=OLD, promoted=(1, 2), rollout=rollout, revisions=3, version=5)
    return replace(made, **changes)  # type: ignore[arg-type]


def said(verb: str, state: str) -> str:
    """What became of it: the field of the rollout that the rule names, or the refusal."""
    try:
        after = VERBS[verb](deployment(ROLLOUTS[state]))
    except Conflict as refused:
        return refused.problem if refused.fix else "refused without a fix"
    assert after.rollout
    field = RULES[verb][state].partition("=")[0]
    value = getattr(after.rollout, field, None)
    return f"{field}={value.name if isinstance(value, Revision) else value}"


@pytest.mark.parametrize(("verb", "state"), [(verb, state) for verb in RULES for state in ROLLOUTS])
def test_the_table_of_verbs_and_states(verb: str, state: str) -> None:
    assert said(verb, state).startswith(RULES[verb][state])


@pytest.mark.parametrize("to", [0, 9, -1])
def test_a_rollback_to_a_number_that_was_never_made_is_not_found(to: int) -> None:
    with pytest.raises(NotFound, match=f"shop has no revision {to}"):
        commands.rollback(deployment(), NOON, revisions=REVISIONS, to=to)


def test_a_rollback_of_the_only_revision_has_nowhere_to_go() -> None:
    with pytest.raises(Conflict, match="shop has no previous revision"):
        commands.rollback(deployment(previous=None), NOON, revisions=REVISIONS)


def test_a_revision_that_was_never_promoted_does_not_come_back_without_its_gate() -> None:
    with pytest.raises(Conflict, match="shop-3 was never promoted"):
        commands.rollback(deployment(), NOON, revisions=REVISIONS, to=3)


def test_promote_and_abort_of_a_held_rollout_end_the_pause_or_not() -> None:
    held = deployment(replace(HELD, paused=True))
    promoted, aborted = commands.promote(held).rollout, commands.abort(held, NOON).rollout
    assert promoted
    assert aborted
    assert (promoted.paused, promoted.rushed) == (False, False)
    assert aborted.failed_at == NOON


def test_promote_of_an_ungated_green_waits_until_it_is_ready() -> None:
    ungated = replace(STARTING, green=replace(GREEN, gates=UNGATED))
    with pytest.raises(Conflict):
        commands.promote(deployment(ungated))
    promoted = commands.promote(deployment(replace(ungated, ready_at=NOON))).rollout
    assert promoted
    assert promoted.rushed


def test_a_rollback_is_trusted_and_goes_from_the_live_revision() -> None:
    rollout = commands.rollback(deployment(), NOON, revisions=REVISIONS).rollout
    assert rollout == Rollout(green=OLD, blue=BLUE, started_at=NOON, trusted=True)


def test_apply_at_rest_begins_and_during_a_rollout_queues() -> None:
    begun = commands.apply(deployment(), NEXT, NOON)
    assert (begun.rollout, begun.queued, begun.revisions) == (Rollout(green=NEXT, blue=BLUE, started_at=NOON), None, 4)

    queued = commands.apply(deployment(SHIFTING), NEXT, NOON)
    assert queued.queued == NEXT
    assert queued.rollout == replace(SHIFTING, superseded_by=4)
    assert begin_queued(queued, NOON) == queued


def test_an_end_moves_live_and_previous_only_when_it_succeeded() -> None:
    assert ended(deployment(BAKING), succeeded=False) == deployment(BAKING)
    after = ended(deployment(BAKING), succeeded=True)
    assert (after.live, after.previous, after.promoted) == (GREEN, BLUE, (1, 2, 3))


def test_remove_forgets_all_wishes_but_not_the_number_of_revisions() -> None:
    gone = commands.remove(deployment(SHIFTING, queued=NEXT), NOON)
    assert (gone.removed, gone.live, gone.active, gone.queued, gone.revisions) == (True, None, None, None, 3)
    assert upheld(gone) == ()


@pytest.mark.parametrize(
    ("state", "held_up"),
    [
        ("at rest", (BLUE,)),
        ("done", (BLUE,)),
        ("starting", (BLUE,)),
        ("held", (BLUE,)),
        ("shifting", (BLUE, GREEN)),
        ("baking", (BLUE, GREEN)),
        ("releasing", (GREEN,)),
        ("undoing", (BLUE,)),
        ("first, gating", ()),
        ("first, baking", (GREEN,)),
    ],
)
def test_what_must_run_at_full_strength_in_each_state(state: str, held_up: tuple[Revision, ...]) -> None:
    assert upheld(deployment(ROLLOUTS[state])) == held_up


@pytest.mark.parametrize(
    ("state", "newest"),
    [("at rest", BLUE), ("done", BLUE), ("undone", BLUE), ("gating", GREEN), ("undoing", BLUE)],
)
def test_the_newest_is_what_was_asked_for_last_unless_it_failed(state: str, newest: Revision) -> None:
    assert deployment(ROLLOUTS[state]).newest == newest
    assert deployment(ROLLOUTS[state], queued=NEXT).newest == NEXT


def test_a_rollback_to_what_is_live_by_another_number_is_refused() -> None:
    again = deployment(live=replace(OLD, number=3), promoted=(1, 2, 3))
    with pytest.raises(Conflict, match="shop-1 is the same as shop-3, which is live: shop:v1"):
        commands.rollback(again, NOON, revisions=REVISIONS, to=1)
    with pytest.raises(Conflict, match="shop-1 is the same as shop-3"):
        commands.rollback(again, NOON, revisions=REVISIONS)


@pytest.mark.parametrize(
    ("state", "may"),
    [*((state, True) for state in ("at rest", "gating", "shifting", "baking", "undoing")), ("releasing", False)],
)
def test_what_is_live_may_stay_until_blue_is_being_stopped(state: str, may: bool) -> None:
    assert commands.may_stay(deployment(ROLLOUTS[state]), replace(BLUE, number=0)) is may
    assert not commands.may_stay(deployment(ROLLOUTS[state]), replace(GREEN, number=0))


def test_to_stay_calls_the_rollout_off_and_forgets_what_is_queued() -> None:
    stayed = commands.stay(deployment(SHIFTING, queued=NEXT, queued_emergency=True), NOON)
    assert (stayed.queued, stayed.queued_emergency) == (None, False)
    assert stayed.rollout == replace(SHIFTING, failure="shop-2 was applied again", failed_at=NOON)
    undoing = commands.stay(deployment(UNDOING, queued=NEXT), NOON)
    assert (undoing.queued, undoing.rollout) == (None, UNDOING)


def test_an_emergency_waits_in_the_queue_with_its_revision() -> None:
    queued = commands.apply(deployment(SHIFTING), NEXT, NOON, emergency=True)
    assert queued.queued_emergency
    begun = begin_queued(replace(queued, rollout=replace(SHIFTING, ended_at=NOON)), NOON)
    assert begun.rollout == Rollout(green=NEXT, blue=BLUE, started_at=NOON, emergency=1)
    assert not begun.queued_emergency
    assert not commands.apply(queued, replace(NEXT, number=5), NOON).queued_emergency

    first = commands.apply(Deployment(name="shop"), OLD, NOON, emergency=True)
    assert first.rollout == Rollout(green=OLD, blue=None, started_at=NOON)  # there is no blue to be broken


def test_an_emergency_ends_the_waiting_for_a_person_and_the_pause() -> None:
    asked = commands.promote(deployment(replace(HELD, paused=True)), emergency=True).rollout
    assert asked
    assert (asked.held_at, asked.paused, asked.approved, asked.rushed) == (None, False, False, False)
    passed = commands.promote(deployment(replace(SHIFTING, paused=True, unvisited_at=NOON)), emergency=True).rollout
    assert passed
    assert (passed.paused, passed.unvisited_at, passed.rushed) == (False, None, False)  # blue stays warm
    again = deployment(replace(SHIFTING, emergency=2))
    assert commands.promote(again, emergency=True) == again


@pytest.mark.parametrize(
    ("state", "beside"), [("at rest", BLUE), ("shifting", BLUE), ("baking", GREEN), ("undoing", BLUE)]
)
def test_the_next_revision_starts_beside_what_serves(state: str, beside: Revision) -> None:
    assert deployment(ROLLOUTS[state]).serving == beside


def test_in_use_is_what_serves_what_comes_and_what_can_be_gone_back_to() -> None:
    def numbers(of: Deployment) -> set[int]:
        return {revision.number for revision in commands.in_use(of)}

    assert numbers(deployment()) == {1, 2}
    assert numbers(deployment(SHIFTING, queued=NEXT)) == {1, 2, 3, 4}
    assert numbers(deployment(replace(SHIFTING, ended_at=NOON))) == {1, 2}
    assert numbers(Deployment(name="shop")) == set()
