"""Processes that are found again by their marks, and logs that others write."""

import errno
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from benchmarks.chaos.postgresql import PostgreSql
from noren import machine
from noren.machine import (
    ENDINGS,
    Machine,
    Marked,
    free_port,
    listener,
    own_environment,
    rotate,
    tail,
    uninterrupted,
    write_whole,
)

PATH = {"PATH": os.environ["PATH"]}


def eventually(claim: Callable[[], object], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    found = Machine(tmp_path)
    yield found
    for process in found.processes():
        os.kill(process.pid, signal.SIGKILL)


def start(here: Machine, script: str, name: str = "shop-1/0", **env: str) -> int:
    log = Path(here.home) / "logs" / "out.log"
    return here.start(["/bin/sh", "-c", script], kind="replica", name=name, log=log, env=PATH | env)


def pids(processes: list[Marked]) -> set[int]:
    return {p.pid for p in processes}


@pytest.mark.e2e
def test_a_process_is_found_by_its_marks_as_soon_as_it_is_started(here: Machine, tmp_path: Path) -> None:
    pid = start(here, "exec sleep 60", NOREN_INDEX="0", SECRET="geheim")

    (found,) = Machine(tmp_path).processes("replica", "shop-1/0")

    assert (found.pid, found.kind, found.name, found.leader, found.leads) == (pid, "replica", "shop-1/0", pid, True)
    assert found.env["NOREN_INDEX"] == "0"
    assert "SECRET" not in found.env
    assert "geheim" not in repr(found)
    assert abs(found.started_at.timestamp() - time.time()) < 60
    assert here.processes("envoy") == here.processes("replica", "shop-2/0") == []


@pytest.mark.e2e
def test_a_process_is_found_all_the_while_that_it_turns_into_other_programs(here: Machine, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.write_text('#!/bin/sh\n[ "$1" = 0 ] && exec sleep 60\nexec "$0" $(($1 - 1))\n')
    again.chmod(0o755)
    pid = start(here, f"exec {again} 500")

    assert all(pid in pids(here.processes()) for _ in range(100))


@pytest.mark.e2e
def test_a_process_without_an_environment_is_not_waited_for_long(
    here: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    bare = subprocess.Popen(["sleep", "60"], executable=shutil.which("sleep"), env={})
    monkeypatch.setattr(time, "sleep", naps.append)
    found = machine._environment(psutil.Process(bare.pid))
    bare.kill()
    bare.wait()

    assert found == {}
    assert sum(naps) == pytest.approx(0.02)


@pytest.mark.e2e
def test_a_server_that_wrote_its_title_over_its_environment_is_not_waited_for(
    postgresql: PostgreSql, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = int((postgresql.folder / "data/postmaster.pid").read_text().splitlines()[0])
    monkeypatch.setattr(time, "sleep", pytest.fail)

    titled = [backend for backend in psutil.Process(pid).children() if "writer" in " ".join(backend.cmdline())]
    assert len(titled) == 2  # the background writer and the one of the log ahead, which stay
    assert [machine._environment(backend) for backend in titled] == [{}, {}]


@pytest.mark.e2e
def test_processes_of_another_home_are_not_ours(here: Machine, tmp_path: Path) -> None:
    start(here, "exec sleep 60")
    assert Machine(tmp_path / "other").processes() == []


@pytest.mark.e2e
def test_a_home_is_the_same_by_every_path_to_it(here: Machine, tmp_path: Path) -> None:
    pid = start(here, "exec sleep 60")
    (tmp_path / "link").symlink_to(tmp_path)
    assert pids(Machine(tmp_path / "link").processes()) == {pid}


@pytest.mark.e2e
def test_arguments_arrive_as_they_are_and_only_the_given_environment_with_them(
    here: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_TOKEN", "geheim")
    log = tmp_path / "deep/er/out.log"
    pid = here.start(
        ["/bin/sh", "-c", 'printf "%s|" "$@"; env', "sh", "a b", "$HOME", "'", ""],
        kind="gate",
        name="x",
        log=log,
        env=PATH,
        cwd=tmp_path,
    )
    eventually(lambda: machine.exit_code(pid) == 0)

    said = log.read_text()
    assert said.startswith("a b|$HOME|'||")
    names = {line.partition("=")[0] for line in said.partition("||")[2].splitlines()}
    assert names >= {"PATH", "NOREN_OF", "NOREN_KIND", "NOREN_NAME", "NOREN_LEADER"}
    assert "CLOUD_TOKEN" not in names
    assert f"PWD={tmp_path}" in said


@pytest.mark.e2e
def test_a_program_that_is_not_there_ends_with_a_word_in_its_log(here: Machine, tmp_path: Path) -> None:
    pid = here.start(["nosuchprogram"], kind="gate", name="x", log=tmp_path / "log", env=PATH)
    eventually(lambda: machine.exit_code(pid) == 127)
    assert "nosuchprogram" in (tmp_path / "log").read_text()
    with pytest.raises(OSError, match="nosuchfolder"):
        here.start(["true"], kind="gate", name="x", log=tmp_path / "log", env=PATH, cwd=tmp_path / "nosuchfolder")


@pytest.mark.e2e
def test_a_signal_reaches_the_leader_or_all_of_it(here: Machine) -> None:
    pid = start(here, "sleep 60 & wait")
    eventually(lambda: len(here.processes()) == 2)
    assert [p.leads for p in here.processes()] in ([True, False], [False, True])

    assert here.signal("replica", "nosuch", signal.SIGTERM) == 0
    assert here.signal("replica", "shop-1/0", signal.SIGCONT) == 1
    assert here.signal("replica", "shop-1/0", signal.SIGKILL, all_of_it=True) == 2
    eventually(lambda: here.processes() == [])
    eventually(lambda: machine.exit_code(pid) == -signal.SIGKILL)  # it is listed no more a moment before it has ended


@pytest.mark.e2e
def test_children_of_a_dead_leader_are_still_found_and_signalled(here: Machine) -> None:
    pid = start(here, "sleep 60 & wait")
    eventually(lambda: len(here.processes()) == 2)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(here.processes()) == 1)

    (orphan,) = here.processes()
    assert (orphan.leader, orphan.leads) == (pid, False)
    assert here.signal("replica", "shop-1/0", signal.SIGTERM) == 1
    eventually(lambda: here.processes() == [])


@pytest.mark.e2e
def test_zombies_are_not_listed(here: Machine, tmp_path: Path) -> None:
    marks = {"NOREN_OF": here.home, "NOREN_KIND": "replica", "NOREN_NAME": "x"}
    ours = subprocess.Popen(["sleep", "60"], env=PATH | marks)
    eventually(lambda: pids(here.processes()) == {ours.pid})
    here._known = {key: value for key, value in here._known.items() if value is None}
    ours.kill()
    eventually(lambda: "Z (zombie)" in Path(f"/proc/{ours.pid}/status").read_text())

    assert here.processes() == []
    assert Machine(tmp_path).processes() == []
    ours.wait()


def remember_earlier(here: Machine, pid: int, seen: Marked | None) -> None:
    """As if another process had had the pid when we looked last: pids come round."""
    earlier = psutil.Process(pid)
    vars(earlier).update(_ident=(pid, 1.0), _create_time=1.0)
    here._seen[pid] = earlier
    here._known[(pid, 1.0)] = seen


@pytest.mark.e2e
def test_a_stranger_with_the_pid_of_a_replica_that_is_gone_is_not_taken_for_it(here: Machine) -> None:
    start(here, "exec sleep 60")
    (ours,) = here.processes()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        gone = replace(ours, pid=stranger.pid, leader=stranger.pid, name="shop-2/0")
        remember_earlier(here, stranger.pid, gone)

        assert here.signal("replica", "shop-2/0", signal.SIGKILL) == 0
        assert pids(here.processes()) == {ours.pid}
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.e2e
def test_a_replica_with_the_pid_of_one_that_is_gone_is_found(here: Machine) -> None:
    pid = start(here, "exec sleep 60")
    (ours,) = here.processes()
    remember_earlier(here, pid, ours)

    here.processes()  # sees that it is another process by now

    assert pids(here.processes()) == {pid}


@pytest.mark.e2e
def test_a_replica_with_the_pid_of_a_stranger_that_is_gone_is_found_also_by_who_was_stopped_meanwhile(
    here: Machine,
) -> None:
    pid = start(here, "exec sleep 60")
    remember_earlier(here, pid, None)

    here._scanned_at -= 6

    assert pids(here.processes()) == {pid}


@pytest.mark.e2e
def test_output_is_appended_to_the_log_also_after_its_rotation(here: Machine, tmp_path: Path) -> None:
    log = tmp_path / "logs/out.log"
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)
    start(here, f"echo first; read _ < {fifo}; echo second")
    eventually(lambda: log.read_text() == "first\n")

    rotate(log, limit_bytes=1)
    fifo.write_text("go\n")

    eventually(lambda: log.read_text() == "second\n")
    assert (tmp_path / "logs/out.log.1").read_text() == "first\n"


def test_marks_are_not_handed_on_to_a_process_that_is_marked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOREN_OF", "NOREN_KIND", "NOREN_NAME", "NOREN_LEADER"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("NOREN_PORT", "1")
    found = own_environment()
    assert found["NOREN_PORT"] == "1"
    assert not {"NOREN_OF", "NOREN_KIND", "NOREN_NAME", "NOREN_LEADER"} & set(found)


def test_the_listener_of_a_port_is_named() -> None:
    port = free_port()
    assert listener(port) is None
    with socket.create_server(("127.0.0.1", port)):
        said = listener(port)
    assert said
    assert f"(pid {os.getpid()})" in said
    assert listener(port) is None


def test_a_port_that_was_just_left_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()  # this side waits in TIME_WAIT now
            client.recv(1)
    assert listener(port) is None


def test_two_free_ports_can_be_bound() -> None:
    for _ in range(3):
        with socket.create_server(("127.0.0.1", free_port())):
            pass


@pytest.mark.parametrize(
    ("content", "lines", "last"),
    [
        (b"", 5, []),
        (b"a\nb\nc\n", 2, ["b", "c"]),
        (b"a\nb", 5, ["a", "b"]),
        ("grüß\n".encode() + b"\xff\n", 5, ["grüß", "�"]),
        (b"x" * 300_000 + b"\nend\n", 1, ["end"]),
    ],
)
def test_tail_gives_the_last_lines(tmp_path: Path, content: bytes, lines: int, last: list[str]) -> None:
    (tmp_path / "log").write_bytes(content)
    assert tail(tmp_path / "log", lines) == last


def test_the_tail_of_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "nosuch", 5) == []


def test_a_log_is_rotated_only_when_it_is_too_long_and_one_past_is_kept(tmp_path: Path) -> None:
    log, past = tmp_path / "log", tmp_path / "log.1"
    rotate(log)
    log.write_text("short")
    rotate(log)
    assert not past.exists()

    rotate(log, limit_bytes=5)
    assert (log.read_text(), past.read_text()) == ("", "short")
    log.write_text("again")
    rotate(log, limit_bytes=5)
    assert (log.read_text(), past.read_text()) == ("", "again")


def test_a_log_that_a_full_disk_has_no_room_for_twice_loses_its_past(tmp_path: Path) -> None:
    class Full(type(tmp_path)):  # type: ignore[misc]
        def write_bytes(self, content: bytes) -> int:
            self.touch()
            raise OSError(errno.ENOSPC, "No space left on device", str(self))

    log = Full(tmp_path / "log")
    log.write_text("long")
    rotate(log, limit_bytes=1)
    assert log.read_text() == ""
    assert not (tmp_path / "log.1").exists()


def test_a_file_is_written_whole_or_not_at_all_and_the_refusal_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep/er/file"
    write_whole(path, "whole")

    def cut_off(self: Path, _text: str) -> int:
        self.write_bytes(b"ha")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", cut_off)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        write_whole(path, "another")
    assert path.read_text() == "whole"


def test_this_very_process_is_seen_only_when_it_is_marked(tmp_path: Path) -> None:
    assert os.getpid() not in pids(Machine(tmp_path).processes())


@pytest.mark.parametrize("signum", ENDINGS, ids=lambda signum: signum.name)
def test_who_wants_to_end_it_waits_until_what_must_be_whole_is_whole(signum: signal.Signals) -> None:
    came: list[str] = []
    before = signal.signal(signum, lambda *_: came.append("ended"))
    try:
        with uninterrupted():
            os.kill(os.getpid(), signum)
            time.sleep(0.01)
            came.append("whole")
        assert came == ["whole", "ended"]
    finally:
        signal.signal(signum, before)


def test_the_ports_to_spare_are_those_of_the_kernels_range_that_no_socket_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "range").write_text("32768\t32867\n")
    line = "   {}: 0100007F:{:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1050 1 0 100 0 0 10 0"
    ports = (32768, 32768, 32867, 32767, 80)  # one of them twice, and two out of the range
    (tmp_path / "tcp").write_text("\n".join(["  sl  local_address", *(line.format(*p) for p in enumerate(ports))]))
    monkeypatch.setattr(machine, "_PORT_RANGE", tmp_path / "range")
    monkeypatch.setattr(machine, "_SOCKETS", (tmp_path / "tcp", tmp_path / "tcp6"))
    assert machine.spare_ports() == 98

    (tmp_path / "range").unlink()
    assert machine.spare_ports() is None


def test_this_machine_has_ports_to_spare_unless_it_does_not_say() -> None:
    spare = machine.spare_ports()
    assert spare is None or spare > 0
