"""noren-serve when more comes than it can do, and for a long time: open loops, as the world asks."""

import time
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.rows import Row
from benchmarks.serve import contenders as c
from benchmarks.serve.client import Answers, Client
from benchmarks.serve.memory import growth, weighed
from benchmarks.serve.run import StartError, serving, wrong

DEADLINE_MS = 1000.0  # max_latency_ms of the service Narrow
TIMES_CAPACITY = 3.0
SHARE_OF_CAPACITY = 0.7
SOAK = "soak"  # how the rows begin that outlive runs without --soak
FLAT = "<= 1.05"
_ASKED_S = 3.0  # a closed loop of so long tells what a minute's capacity is


@dataclass(frozen=True, slots=True, kw_only=True)
class Endured:
    """A server that was asked `per_second` times a second. `growth` is the end's memory over the settled one."""

    capacity: float
    answers: Answers
    growth: float
    memory_mb: float
    wrong: int


def overload(seconds: float, *, rounds: int = 3) -> list[Row]:
    """Three times what the server can do: the forest in batches of 4, where the model and not HTTP is the limit.

    Each round has a server of its own. Of what was answered in time the middle round is told, of all else the worst.
    """
    try:
        seen = [
            _endure(c.NOREN_NARROW, "forest", share=TIMES_CAPACITY, seconds=seconds, connections=64)
            for _ in range(rounds)
        ]
    except StartError as error:
        return [Row(name=f"overload: not measured: {error}", value=0, unit="1/s")]
    answers = [one.answers for one in seen]
    in_time = [sum(ms <= DEADLINE_MS for ms in one.answers.latencies) / seconds / one.capacity for one in seen]
    what = f"overload, {TIMES_CAPACITY:g} x capacity for {seconds:g} s"
    return [
        Row(name=f"{what}: rounds", value=rounds, unit="rounds"),
        Row(name=f"{what}: capacity", value=round(median(one.capacity for one in seen)), unit="1/s"),
        Row(name=f"{what}: offered", value=round(median(one.offered for one in answers) / seconds), unit="1/s"),
        Row(name=f"{what}: answered in time / capacity", value=round(median(in_time), 2), unit="x", goal=">= 0.9"),
        Row(name=f"{what}: p99 of the answered", value=round(max(one.quantile_ms(0.99) for one in answers)), unit="ms",
            goal=f"<= {DEADLINE_MS:g}"),
        Row(name=f"{what}: refused with 503", value=sum(one.statuses.get(503, 0) for one in answers), unit="requests"),
        Row(name=f"{what}: neither answered nor refused", value=sum(map(_lost, answers)), unit="requests", goal="= 0"),
        Row(name=f"{what}: memory", value=round(max(one.memory_mb for one in seen)), unit="MB"),
        Row(name=f"{what}: memory at the end / after the first seconds",
            value=round(max(one.growth for one in seen), 3), unit="x", goal=FLAT),
    ]  # fmt: skip


def soak(minutes: float) -> list[Row]:
    """Most of what the server can do, for a long time: sentiment with scikit-learn, batchable."""
    try:
        minutes_seen, curve, mistaken = _minutes(c.NOREN_BATCH, "tfidf", minutes, connections=16)
    except StartError as error:
        return [Row(name=f"{SOAK}: not measured: {error}", value=0, unit="minutes")]
    what = f"{SOAK} at {SHARE_OF_CAPACITY:.0%} of capacity"
    capacities = [capacity for capacity, _ in minutes_seen]
    answers = [one for _, one in minutes_seen]
    failed = sum(one.failed for one in answers) + mistaken
    latencies = np.concatenate([np.asarray(one.latencies) for one in answers])
    grown = growth(curve, settled_s=min(60.0, minutes * 12))
    return [
        Row(name=f"{what}: duration", value=minutes, unit="minutes", goal=">= 30"),
        Row(name=f"{what}: requests", value=sum(one.offered for one in answers), unit="requests"),
        Row(name=f"{what}: errors", value=failed, unit="requests", goal="= 0"),
        Row(name=f"{what}: p50", value=round(float(np.quantile(latencies, 0.5)), 2), unit="ms"),
        Row(name=f"{what}: p99", value=round(float(np.quantile(latencies, 0.99)), 2), unit="ms"),
        Row(name=f"{what}: capacity in the slowest minute", value=round(min(capacities)), unit="1/s"),
        Row(name=f"{what}: capacity in the fastest minute", value=round(max(capacities)), unit="1/s"),
        Row(name=f"{what}: memory", value=round(curve[-1][1]), unit="MB"),
        Row(name=f"{what}: memory at the end / in the beginning", value=round(grown, 3), unit="x", goal=FLAT),
    ]


def _minutes(
    contender: c.Contender, model: str, minutes: float, *, connections: int
) -> tuple[list[tuple[float, Answers]], list[tuple[float, float]], int]:
    """Capacity and answers of each minute, memory in its course, wrong answers.

    A machine in the cloud is half as fast in some minutes as in others: what 70 % of its capacity is, is asked anew in
    the first seconds of each.
    """
    seen: list[tuple[float, Answers]] = []
    with serving(contender, model) as server, Client(server.port, server.requests) as client:
        client.closed_loop(connections=connections, seconds=2)
        with weighed(server.tree) as curve:
            until = time.monotonic() + minutes * 60
            while (left := until - time.monotonic()) > 2 * _ASKED_S:
                capacity = client.closed_loop(connections=connections, seconds=_ASKED_S).per_second
                if not capacity:
                    raise StartError("it answered nothing in a closed loop")
                seconds = min(60.0, left) - _ASKED_S
                seen.append((capacity, client.open_loop(per_second=capacity * SHARE_OF_CAPACITY, seconds=seconds)))
        return seen, curve, sum(wrong(contender, model, answers) for _, answers in seen)


def _endure(contender: c.Contender, model: str, *, share: float, seconds: float, connections: int) -> Endured:
    with serving(contender, model) as server, Client(server.port, server.requests) as client:
        client.closed_loop(connections=connections, seconds=2)
        before = _capacity(client, connections, seconds)
        if not before:
            raise StartError("it answered nothing in a closed loop")
        with weighed(server.tree) as curve:
            answers = client.open_loop(per_second=before * share, seconds=seconds)
        return Endured(
            # The machine's speed drifts: what it can do meanwhile is taken for the middle of before and after.
            capacity=(before + _capacity(client, connections, seconds)) / 2,
            answers=answers,
            growth=growth(curve, settled_s=min(60.0, seconds / 5)),
            memory_mb=curve[-1][1],
            wrong=wrong(contender, model, answers),
        )


def _capacity(client: Client, connections: int, seconds: float) -> float:
    return client.closed_loop(connections=connections, seconds=min(10.0, seconds / 3)).per_second


def _lost(answers: Answers) -> int:
    return sum(count for status, count in answers.statuses.items() if status not in {200, 503})
