"""Which replicas count as ejected again and again."""

from noren.frontdoors.ejections import Ejections

A, B = "127.0.0.1:4000", "127.0.0.1:4001"


class Watch:
    """Looks when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.ejections = Ejections(lambda: self.seconds)

    def after(self, seconds: float, *out: str, there: tuple[str, ...] = (A, B)) -> set[str]:
        self.seconds += seconds
        return set(self.ejections.note(set(out), set(there)))


def eject_twice(watch: Watch) -> None:
    for _ in range(2):
        watch.after(1, A)
        watch.after(1)


def test_who_is_out_for_the_third_time_is_sick_for_as_long_as_it_is_out() -> None:
    watch = Watch()
    eject_twice(watch)
    assert watch.after(60, A) == watch.after(1, A, B) == {A}
    assert watch.after(1) == set()


def test_who_is_there_for_less_than_a_minute_is_not_sick_yet() -> None:
    watch = Watch()
    eject_twice(watch)
    assert watch.after(55.9, A) == set()
    assert watch.after(0.2, A) == set()
    assert watch.after(1, A) == {A}


def test_who_was_gone_in_between_begins_anew() -> None:
    watch = Watch()
    eject_twice(watch)
    watch.after(60, there=(B,))
    assert watch.after(1, A) == set()
    eject_twice(watch)
    assert watch.after(1, A) == set()
    assert watch.after(60, A) == {A}
