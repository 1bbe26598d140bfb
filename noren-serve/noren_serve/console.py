"""What noren-serve says to the person who started it."""

import contextlib
import sys


def say(text: str) -> None:
    """One message."""
    with contextlib.suppress(OSError):  # whoever read it is gone, or the disk is full: no reason to end the workers
        print(f"noren-serve: {text}", file=sys.stderr, flush=True)  # noqa: T201  this is the command line
