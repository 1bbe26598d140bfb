"""What keeps a control plane that leads no more from writing to the front door: the highest epoch that ever wrote."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from noren.domain.errors import DriverUnavailable
from noren.machine import write_whole

_PATIENCE_S = 1.0  # whoever has the files writes for milliseconds


def refuse_stale(epoch: int, highest: int) -> None:
    """Raise DriverUnavailable when another control plane leads by now."""
    if epoch < highest:
        raise DriverUnavailable(
            f"another control plane leads this front door: its epoch is {highest}, ours {epoch}",
            fix="nothing, where several share a database: it goes on; otherwise end this control plane and `noren up`",
        )


def highest_epoch(folder: Path) -> int:
    """That ever wrote to the folder; 0 before the first."""
    try:
        return int((folder / "epoch").read_text())
    except (FileNotFoundError, ValueError):  # renamed into place, it is only ever half a number after a power cut
        return 0


@contextmanager
def held(folder: Path, epoch: int) -> Iterator[None]:
    """Have the folder for oneself, and make lower epochs stale. Raises DriverUnavailable when ours is, or in vain."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "epoch.lock").open("w") as lock:
        _lock(lock)
        highest = highest_epoch(folder)
        refuse_stale(epoch, highest)
        if epoch > highest:
            write_whole(folder / "epoch", f"{epoch}\n")
        yield


def _lock(file: IO[str]) -> None:
    """The kernel gives it up when we die, not when we are stopped: who waits for such a one must be told."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise DriverUnavailable(
                    "another control plane writes to this front door, and does not come to an end",
                    fix="look for one that was stopped (`ps`, state T), and kill it",
                ) from None
        time.sleep(0.005)
