"""Locust users without Locust's runner: read from a locustfile, kept in a pool, and asked for one task at a time.

Imported by the load generator's process only: Locust patches the standard library when it is imported.
"""

import random
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import locust
import numpy as np
from locust import FastHttpUser, HttpUser, SequentialTaskSet, TaskSet, User
from locust.env import Environment
from locust.exception import InterruptTaskSet, RescheduleTask, RescheduleTaskImmediately, StopUser
from locust.user.task import LOCUST_STATE_RUNNING, DefaultTaskSet
from locust.util.load_locustfile import load_locustfile

from noren.gates.duet import Target

Task = Any  # a function of a user, or a TaskSet class; Locust does not type its callables
FLIGHT = "noren_flight"  # the key in Locust's request context that says which arrival a request belongs to
_TASK_ENDS = (InterruptTaskSet, RescheduleTask, RescheduleTaskImmediately, StopUser)


class UnusableLocustfile(Exception):  # noqa: N818
    """Why no user can be made of a locustfile, in words for its author."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """What a locustfile brings."""

    users: list[type[User]]
    chances: list[random.Random] = field(default_factory=list)  # generators of its own, at its top level

    def seed(self, seed: int) -> None:
        """Let the next task draw the same in either arm, as far as it draws before it first waits."""
        random.seed(seed)
        np.random.seed(seed)
        for chance in self.chances:
            chance.seed(seed)


def load_cast(path: Path) -> Cast:
    """The runnable users of a locustfile. Raises UnusableLocustfile."""
    try:
        classes, _ = load_locustfile(str(path))
    except BaseException as error:  # a locustfile may also call sys.exit()
        raise UnusableLocustfile(f"{place(error, path)}: {describe(error)}") from error
    users = [cls for cls in classes.values() if cls.weight > 0]
    _refuse_unusable(users, path)
    module = sys.modules[users[0].__module__]
    return Cast(users=users, chances=[v for v in vars(module).values() if isinstance(v, random.Random)])


def _refuse_unusable(users: list[type[User]], path: Path) -> None:
    if not users:
        raise UnusableLocustfile(f"{path.name}: no user class in it; subclass locust.FastHttpUser or HttpUser")
    for cls in users:
        if not cls.tasks:
            raise UnusableLocustfile(f"{path.name}: {cls.__name__} has no task; decorate a method with @task")
        if not issubclass(cls, HttpUser | FastHttpUser):
            raise UnusableLocustfile(
                f"{path.name}: {cls.__name__} is no HttpUser or FastHttpUser, so it cannot be sent to one revision"
            )


def example_cast(examples: tuple[Mapping[str, object], ...]) -> Cast:
    """A user that has one task for each example request."""

    def sender(path: str, body: object) -> Task:
        return lambda user: user.client.post(path, json=body)

    tasks = [sender(str(example["path"]), example["body"]) for example in examples]
    return Cast(users=[type("ExampleUser", (FastHttpUser,), {"tasks": tasks})])


class Picks:
    """Which task of which user each arrival runs. Short runs, too, give every task its share."""

    def __init__(self, users: list[type[User]], rng: np.random.Generator) -> None:
        self.users, self.rng = users, rng
        weights = np.array([cls.weight for cls in users], dtype=float)
        self.shares = weights / weights.sum()
        self.decks = [self._deal(cls.tasks) for cls in users]

    def next(self) -> tuple[type[User], Task]:
        """A user class by its weight, and a task of it by its own."""
        index = int(self.rng.choice(len(self.users), p=self.shares)) if len(self.users) > 1 else 0
        return self.users[index], next(self.decks[index])

    def _deal(self, tasks: list[Task]) -> Iterator[Task]:
        while True:
            yield from (tasks[i] for i in self.rng.permutation(len(tasks)))


class Member:
    """A pooled user of one arm, with the task sets that it has entered."""

    def __init__(self, cls: type[User], environment: Environment, target: Target) -> None:
        user: Any = cls.__new__(cls)
        user.host = target.url  # before __init__, which makes the client of it
        user.__init__(environment)
        user._state, user._taskset_instance = LOCUST_STATE_RUNNING, DefaultTaskSet(user)
        own_context: Callable[[], dict[str, Any]] = user.context
        user.context = lambda: {**own_context(), FLIGHT: self.flight}
        self.flight: object | None = None
        self.task_sets: dict[Task, Any] = {}
        self.user = user
        _headers(user).update(target.headers)
        user.on_start()
        _headers(user).update(target.headers)  # on_start may have put headers of its own in their place

    def run(self, task: Task, flight: object) -> None:
        """Run one task to its end; its requests carry `flight` in their context. Raises what the task raises."""
        self.flight = flight
        try:
            self._run(self.user, task)
        except _TASK_ENDS:
            pass
        finally:
            self.flight = None

    def leave(self) -> None:
        """End as a Locust user ends."""
        for task_set in self.task_sets.values():
            task_set.on_stop()
        self.user.on_stop()

    def _run(self, parent: Any, task: Task) -> None:
        if not _is_task_set(task):
            task(parent)
            return
        task_set = self.task_sets.get(task) or self._enter(parent, task)
        # A sequence is one story, told whole; of any other set an arrival is one step.
        in_order = isinstance(task_set, SequentialTaskSet)
        steps: list[Task] = list(task_set.tasks) if in_order else [task_set.get_next_task()]
        try:
            for step in steps:
                if getattr(step, "__self__", None) is task_set:
                    step()
                else:
                    self._run(task_set, step)
        except InterruptTaskSet:
            del self.task_sets[task]
            task_set.on_stop()

    def _enter(self, parent: Any, task: Task) -> Any:
        task_set: Any = task(parent)
        task_set.on_start()
        self.task_sets[task] = task_set
        return task_set


class Crew:
    """The users of one arm. They grow with the requests in flight, and are used again, the last one first."""

    def __init__(self, environment: Environment, target: Target) -> None:
        self.environment, self.target = environment, target
        self.idle: dict[type[User], list[Member]] = {}

    def take(self, cls: type[User]) -> Member:
        """An idle user of that class, or a new one that has run its on_start."""
        idle = self.idle.setdefault(cls, [])
        return idle.pop() if idle else Member(cls, self.environment, self.target)

    def give(self, member: Member) -> None:
        """Put a user back."""
        self.idle[type(member.user)].append(member)

    def leave(self, within_s: float) -> None:
        """Run on_stop of every idle user, for `within_s` at most."""
        members = [member for idle in self.idle.values() for member in idle]
        gevent.joinall([gevent.spawn(member.leave) for member in members], timeout=within_s)


def make_environment(users: list[type[User]]) -> Environment:
    """An environment for listeners of the locustfile; there is no runner in it."""
    environment = Environment(user_classes=users, events=locust.events)
    init: Any = environment.events.init
    init.fire(environment=environment, runner=None, web_ui=None)
    return environment


def describe(error: BaseException) -> str:
    """An exception in one line."""
    message = str(error.msg if isinstance(error, SyntaxError) else error).strip().splitlines()
    return f"{type(error).__name__}: {message[0][:200]}" if message else type(error).__name__


def place(error: BaseException, path: Path) -> str:
    """The line of the locustfile that an exception comes from."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path.name}, line {error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path.name}, line {lines[-1]}" if lines else path.name


def _is_task_set(task: Task) -> bool:
    return isinstance(task, type) and issubclass(task, TaskSet)


def _headers(user: Any) -> Any:
    """The headers that the user's client puts on every request."""
    return user.client.client.default_headers if isinstance(user, FastHttpUser) else user.client.headers
