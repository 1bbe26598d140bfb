"""When those that leave are told so, and when they are ended."""

import signal

from noren.runtimes.leaving import Leaving


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_who_leaves_is_first_forgotten_then_asked_once_then_killed() -> None:
    clock = Clock()
    leaving = Leaving(clock)
    assert leaving.begin("7", "too big")
    assert not leaving.begin("7", "another reason")

    told = []
    for seconds in (0, 1, 2, 3, 30, 37, 38):
        clock.now = 100.0 + seconds
        told.append(leaving.due("7"))

    assert told == [None, None, signal.SIGTERM, None, None, signal.SIGKILL, signal.SIGKILL]
    assert leaving.why("7") == "too big"


def test_who_is_gone_is_forgotten_and_its_next_life_is_another() -> None:
    leaving = Leaving(Clock())
    leaving.begin("7", "too big")
    leaving.begin("8", "too big")

    leaving.keep({"8", "9"})

    assert ("7" in leaving, "8" in leaving, "9" in leaving) == (False, True, False)
    assert leaving.why("7") == ""
