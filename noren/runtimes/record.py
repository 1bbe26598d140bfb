"""What the machine cannot tell of a replica: that it is wanted, and how its earlier lives ended."""

import json
import shutil
import time
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

from noren.control.ports import Replica, ReplicaState
from noren.machine import tail, why

_STEADY = timedelta(seconds=60)  # who ran this long before it ended starts with a clean record
_BROKEN_AFTER = 3  # this many short lives in a row are a crash loop
_BACKOFF_MAX_S = 60.0


@dataclass(kw_only=True)
class Record:
    """One replica's."""

    launches: int = 0
    launched_at: float = 0.0  # seconds since 1970
    exits: list[str] = field(default_factory=list)  # one reason for each short life in a row
    exited_at: float = 0.0
    counted: int = 0  # launches whose end is in `exits` or was forgiven

    @property
    def restarts(self) -> int:
        """Launches after the first."""
        return max(self.launches - 1, 0)

    def due_at(self) -> float:
        """When the next launch may be: 0.5, 1, 2, 4 ... 60 s after the last end."""
        return self.exited_at + min(0.25 * 2 ** len(self.exits), _BACKOFF_MAX_S) if self.exits else 0.0


class Records:
    """The records of one home: replicas/<revision>/<index>.json, and each replica's log in logs/.

    A replica's name is "<revision>/<index>".
    """

    def __init__(self, home: Path) -> None:
        self.folder, self._logs = home / "replicas", home / "logs"

    def wanted(self) -> dict[str, Record]:
        """Every replica that was started and not stopped, by name."""
        names = [f"{file.parent.name}/{file.stem}" for file in self.folder.glob("*/*.json")]
        return {name: record for name in sorted(names) if (record := self._read(name))}

    def begin(self, name: str) -> bool:
        """Take down a launch that comes now; False while it has to wait because the last one ended too soon."""
        record = self._read(name) or Record()
        self._note_end(name, record)
        if time.time() < record.due_at():
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

    def forget(self, revision: str) -> None:
        """It is not wanted any more."""
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
        record.exits = [*([] if lived > _STEADY else record.exits), why(tail(self.log(name), 30))]
        record.exited_at, record.counted = time.time(), record.launches
        self._write(name, record)

    def _read(self, name: str) -> Record | None:
        try:
            return Record(**json.loads((self.folder / f"{name}.json").read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):  # cut off by a power cut: that it is wanted is all that is known
            return Record()

    def _write(self, name: str, record: Record) -> None:
        path = self.folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".tmp")
        fresh.write_text(json.dumps(asdict(record)))
        fresh.replace(path)


def forget_all(home: Path) -> None:
    """Forget every replica: they were ended on purpose, and their next start is not one after a crash."""
    shutil.rmtree(home / "replicas", ignore_errors=True)
