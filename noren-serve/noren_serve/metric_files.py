"""The files in which the workers' metrics meet: prometheus_client's multi-process mode.

It names them by the process that writes, and keeps what a dead one has counted for ever. Where workers retire after
some requests, there would be more files to read at each scrape, day after day. Here a worker has a name that is free
again when it has ended, and whoever is called so next counts on in the same files.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "noren-serve-"
_OF_THE_LIVING = ("liveall", "livesum", "livemax", "livemin", "livemostrecent")  # modes of gauges

_writer, _pid = "", 0  # the name of this worker; none in the supervisor


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

    values.ValueClass = values.MultiProcessValue(_name)  # type: ignore[no-untyped-call]


def write_as(writer: str) -> None:
    """The name of this process, which no other has at the same time."""
    global _writer, _pid
    _writer, _pid = writer, os.getpid()


def endpoints() -> set[str]:
    """Those that whoever wrote in the name of this process before has counted requests to."""
    from prometheus_client.mmap_dict import MmapedDict

    file = Path(os.environ.get(_FOLDER, ""), f"counter_{_name()}.db")
    if not file.is_file():
        return set()
    keys = [json.loads(key) for key, *_ in MmapedDict.read_all_values_from_file(file)]  # type: ignore[no-untyped-call]
    return {labels["endpoint"] for _, _, labels, _ in keys if "endpoint" in labels}


def _name() -> str:
    """A process that a worker has forked is another one, and writes to files of its own."""
    pid = os.getpid()
    return _writer if pid == _pid else str(pid)


def forget(writer: str) -> None:
    """It has ended: its gauges of the living no longer count (see prometheus_client.multiprocess.mark_process_dead)."""
    if folder := os.environ.get(_FOLDER):
        for mode in _OF_THE_LIVING:
            Path(folder, f"gauge_{mode}_{writer}.db").unlink(missing_ok=True)
