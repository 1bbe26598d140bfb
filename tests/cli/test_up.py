"""What `noren up` leaves as it was when it is interrupted."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from noren import settings
from noren.cli import up
from noren.machine import Machine

pytestmark = pytest.mark.e2e


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A home whose control planes only wait."""
    waits = tmp_path / "python"
    waits.write_text("#!/bin/sh\nexec sleep 60\n")
    waits.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(waits))
    monkeypatch.setenv("NOREN_HOME", str(tmp_path))
    machine = Machine(tmp_path)
    yield machine
    for process in machine.processes():
        os.kill(process.pid, signal.SIGKILL)


def test_ctrl_c_in_a_second_control_plane_leaves_the_first_one_of_the_home_alone(
    here: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, env = Path(here.home) / "log", {"PATH": os.environ["PATH"]}
    leader = here.start([sys.executable], kind="server", name="server", log=log, env=env)
    begun: list[int] = []

    def interrupted(_chosen: object, pid: int, _log: object) -> None:
        begun.append(pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(up, "_wait_for_server", interrupted)
    with pytest.raises(KeyboardInterrupt):
        up._start(settings.load(), foreground=False)

    assert begun != [leader]
    assert {p.pid for p in here.processes("server")} == {leader}
