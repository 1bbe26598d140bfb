"""Saving into the BentoML model store."""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


def save(name: str, files: Mapping[str, bytes], *, labels: Mapping[str, str], metadata: Mapping[str, Any]) -> str:
    """Save `files` (by name) as a new version of model `name` and return its tag, `name:version`."""
    import bentoml  # takes a second: only when there is something to save

    with _uninterrupted(), bentoml.models.create(name, labels=dict(labels), metadata=dict(metadata)) as model:
        for file, content in files.items():
            with open(model.path_of(file), "wb") as target:  # noqa: PTH123 - BentoML gives a string
                target.write(content)
    return str(model.tag)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold back SIGINT and SIGTERM until the block has ended.

    BentoML copies a model into the store file by file and cleans up only after an Exception, so an
    interrupt in the middle would leave half a model. The block takes milliseconds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        return
    held = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
