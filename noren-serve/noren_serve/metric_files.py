"""The files in which the workers' metrics meet: prometheus_client's multi-process mode.

It names them by the process that writes, and keeps what a dead one has counted for ever. Where workers retire after
some requests, there would be more files to read at each scrape, day after day. Here a worker has a name that is free
again when it has ended, and whoever is called so next counts on in the same files.
"""

import os
import shutil
import tempfile
from pathlib import Path

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "noren-serve-"
_OF_THE_LIVING = ("all", "liveall", "livesum", "livemax", "livemin", "livemostrecent")  # modes of gauges

_writer = ""  # the name of this worker; none in the supervisor


def make_folder() -> None:
    """Where they are, unless that has been said; call before prometheus_client is imported."""
    if not os.environ.get(_FOLDER):
        os.environ[_FOLDER] = tempfile.mkdtemp(prefix=_PREFIX)


def remove_folder() -> None:
    """Remove that folder, if it is one of ours."""
    folder = Path(os.environ.get(_FOLDER, ""))
    if folder.name.startswith(_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)
        del os.environ[_FOLDER]  # whoever this process becomes makes one of its own


def name_by_writer() -> None:
    """Have the metrics that are made from now on written to the files of `write_as`."""
    from prometheus_client import values

    values.ValueClass = values.MultiProcessValue(lambda: _writer or str(os.getpid()))  # type: ignore[no-untyped-call]


def write_as(writer: str) -> None:
    """The name of this process, which no other has at the same time."""
    global _writer
    _writer = writer


def forget(writer: str) -> None:
    """It has ended: its gauges no longer count, its counters and histograms do.

    A gauge of mode `all`, which is one time series for each process, would stay for ever (mark_process_dead).
    """
    if folder := os.environ.get(_FOLDER):
        for mode in _OF_THE_LIVING:
            Path(folder, f"gauge_{mode}_{writer}.db").unlink(missing_ok=True)
