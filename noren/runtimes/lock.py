"""A lock on a file that ends with its holder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold it alone; wait while another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)  # released by the kernel when we die
            if not _is_at(path, handle):
                continue  # whoever had it removed the file: the next one that is made there is the lock
            try:
                yield
            finally:
                os.utime(path)
            return


def _is_at(path: Path, handle: IO[str]) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(handle.fileno()))
    return False
