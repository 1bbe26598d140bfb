"""What the machine cannot tell of a replica: that it is wanted, and how its earlier lives ended."""

import contextlib
import json
import shutil
import time
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

from noren.control.ports import Replica, ReplicaState
from noren.machine import tail, why, write_whole

_STEADY = timedelta(seconds=60)  # who ran this long before it ended starts with a clean record
_BROKEN_AFTER = 3  # this many short lives in a row are a crash loop
_BACKOFF_MAX_S = 60.0
_KEPT = 9  # short lives in a row: by then the pause is the longest, and who crashes for days fills no disk


@dataclass(kw_only=True)
class Record:
    """One replica's."""

    launches: int = 0
    launched_at: float = 0.0  # seconds since 1970
    exits: list[str] = field(default_factory=list)  # one reason for each short life in a row
    exited_at: float = 0.0
    counted: int = 0  # launches whose end is in `exits` or was forgiven
    served: int = 0  # the number of the last launch that was ever ready

    @property
    def restarts(self) -> int:
        """Launches after the first."""
        return max(self.launches - 1, 0)

    @property
    def was_ready(self) -> bool:
        """Whether its present life was ever ready, also if an earlier control plane saw it."""
        return 0 < self.served == self.launches

    def due(self, now: float) -> bool:
        """Whether the next launch may be: 0.5, 1, 2, 4 ... 60 s after the last end.

        An end that lies in the future was dated by a clock that has been set back since; nobody waits for that.
        """
        pause = min(0.25 * 2 ** len(self.exits), _BACKOFF_MAX_S) if self.exits else 0.0
        return not self.exited_at <= now < self.exited_at + pause


class Records:
    """The records of one home: replicas/<revision>/<index>.json, and each replica's log in logs/.

    A replica's name is "<revision>/<index>".
    """

    def __init__(self, home: Path) -> None:
        self.folder, self._logs = home / "replicas", home / "logs"
        self._unwritten: dict[str, Record] = {}  # what a full disk did not take

    def wanted(self) -> dict[str, Record]:
        """Every replica that was started and not stopped, by name."""
        names = [f"{file.parent.name}/{file.stem}" for file in self.folder.glob("*/*.json")]
        return {name: record for name in sorted(names) if (record := self._read(name))}

    def begin(self, name: str) -> bool:
        """Take down a launch that comes now; False while it has to wait because the last one ended too soon.

        Raises OSError when it cannot be taken down that a replica is wanted which never was before.
        """
        record = self._read(name) or Record()
        self._note_end(name, record)
        if not record.due(time.time()):
            return False
        record.launches, record.launched_at = record.launches + 1, time.time()
        self._write(name, record)
        return True

    def crashed(self, name: str, record: Record) -> Replica:
        """A wanted replica that does not run."""
        self._note_end(name, record)
        revision, index = name.split("/")
        broken = len(record.exits) >= _BROKEN_AFTER
        return Replica(
            revision=revision,
            index=int(index),
            state=ReplicaState.BROKEN if broken else ReplicaState.WAITING,
            restarts=record.restarts,
            detail=record.exits[-1] if record.exits else "it ended",
        )

    def note_ready(self, name: str, record: Record) -> None:
        """Take down that its present life is ready, once."""
        if record.launches and not record.was_ready:
            record.served = record.launches
            self._write(name, record)

    def say(self, name: str, text: str) -> None:
        """Write a line of ours into the replica's log: why it is ended, where it cannot say so itself."""
        with contextlib.suppress(OSError), self.log(name).open("a") as log:
            log.write(f"noren: {text}\n")

    def forget(self, revision: str) -> None:
        """It is not wanted any more."""
        self._unwritten = {name: r for name, r in self._unwritten.items() if name.split("/")[0] != revision}
        shutil.rmtree(self.folder / revision, ignore_errors=True)

    def log(self, name: str) -> Path:
        """Where what the replica says is written."""
        return self._logs / f"{name.replace('/', '.')}.log"

    def logs(self, revision: str) -> dict[int, Path]:
        """The logs of a revision's replicas, by index."""
        return {int(file.name.split(".")[-2]): file for file in sorted(self._logs.glob(f"{revision}.*.log"))}

    def _note_end(self, name: str, record: Record) -> None:
        """Take down that the last launch ended, once."""
        if record.counted >= record.launches:
            return
        lived = timedelta(seconds=time.time() - record.launched_at)
        record.exits = [*([] if lived > _STEADY else record.exits), why(tail(self.log(name), 30))][-_KEPT:]
        record.exited_at, record.counted = time.time(), record.launches
        self._write(name, record)

    def _read(self, name: str) -> Record | None:
        try:
            record = Record(**json.loads((self.folder / f"{name}.json").read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):  # cut off by a power cut: that it is wanted is all that is known
            record = Record()
        kept = self._unwritten.get(name)
        return kept if kept and kept.launches >= record.launches else record  # another control plane may write too

    def _write(self, name: str, record: Record) -> None:
        """On a full disk it is only kept in mind: a replica that died is started again all the same."""
        path = self.folder / f"{name}.json"
        try:
            write_whole(path, json.dumps(asdict(record)))
        except OSError:
            if not path.exists():
                raise
            self._unwritten[name] = record
        else:
            self._unwritten.pop(name, None)


def forget_all(home: Path) -> None:
    """Forget every replica: they were ended on purpose, and their next start is not one after a crash."""
    shutil.rmtree(home / "replicas", ignore_errors=True)
