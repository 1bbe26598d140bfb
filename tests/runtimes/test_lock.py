"""A lock on a file, also where the file goes away with what it was for."""

import fcntl
import threading
import time
from pathlib import Path

import pytest

from noren.runtimes.lock import lock


def held(path: Path) -> bool:
    with path.open() as other:
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def until_somebody_waits(path: Path) -> None:
    """The kernel's list of locks shows them with an arrow."""
    inode = f":{path.stat().st_ino} "
    deadline = time.monotonic() + 60
    while not any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_is_held_by_one_until_its_end(tmp_path: Path) -> None:
    path = tmp_path / "envs" / "lock"
    with lock(path):
        assert held(path)
    assert not held(path)
    with pytest.raises(ZeroDivisionError), lock(path):
        raise ZeroDivisionError
    assert not held(path)


def test_who_waited_for_one_that_was_removed_holds_the_one_that_others_find(tmp_path: Path) -> None:
    path, has_it, goes = tmp_path / "lock", threading.Event(), threading.Event()

    def wait() -> None:
        with lock(path):
            has_it.set()
            goes.wait(60)

    with path.open("w") as sweeper:
        fcntl.flock(sweeper, fcntl.LOCK_EX)
        waiting = threading.Thread(target=wait)
        waiting.start()
        until_somebody_waits(path)
        path.unlink()
    assert has_it.wait(60)
    held_by_it = held(path)
    goes.set()
    waiting.join()
    assert held_by_it
    assert not held(path)
