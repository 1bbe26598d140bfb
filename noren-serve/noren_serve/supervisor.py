"""The process that holds the port and keeps the workers alive.

With one worker it stays small: the worker is a child that imports and loads everything. With several it
loads the service itself and forks them, so that they share its memory (copy-on-write), and a dead one is
replaced at once. That needs a service whose loading leaves no thread and no open file behind:
threads do not survive a fork, and files and sockets would be shared by mistake. Otherwise each worker loads
its own copy.
"""

import contextlib
import itertools
import os
import selectors
import signal
import socket
import time
from typing import Any

from noren_serve import forking, metric_files
from noren_serve.child import Child
from noren_serve.console import say
from noren_serve.forking import Loaded
from noren_serve.options import Options

_STEADY_S = 10.0  # a worker that lived this long failed by accident; one that did not waits before its next life
_SLOWEST_RESTART_S = 5.0


class Supervisor:
    """Keeps `workers` children serving on one socket until SIGTERM."""

    def __init__(self, options: Options, listener: socket.socket | None, loaded: Loaded | None) -> None:
        self._options, self._listener, self._loaded = options, listener, loaded
        self._children: dict[int, Child] = {}  # by pid
        self._count = options.workers or 1
        self._short_lives: dict[int, int] = {}  # by index, in a row
        self._restart_at: dict[int, float] = {}  # by index
        self._answered = False  # anyone, ever
        self._failed = 0  # exit code of a first worker that never worked
        self._deployed = False
        self._stop_by: float | None = None
        self._selector = selectors.DefaultSelector()

    def run(self) -> int:
        """Serve until told to end; the exit code."""
        self._catch_signals()
        if self._loaded:
            self._open(self._loaded.wishes)
            self._start_missing()
        else:
            self._start(1)
        while self._children or self._restart_at:
            for key, _ in self._selector.select(self._patience()):
                key.data()
            self._reap()
            self._restart()
            self._kill_late()
        return self._failed

    # Children

    def _start(self, index: int) -> None:
        """Fork one worker."""
        writer = self._free_writer()
        ours, theirs = socket.socketpair()
        forking.flush()
        try:
            pid = os.fork()
        except OSError as error:  # no memory, or too many processes: no reason to end the workers that run
            ours.close()
            theirs.close()
            say(f"cannot start worker {index}: {error.strerror}; next try in {_SLOWEST_RESTART_S:.1f} s")
            self._restart_at[index] = time.monotonic() + _SLOWEST_RESTART_S
            return
        if pid == 0:
            ours.close()
            self._let_go()
            first = not self._deployed
            forking.live(self._options, self._loaded, self._listener, theirs, index=index, writer=writer, first=first)
        theirs.close()
        ours.setblocking(False)
        child = self._children[pid] = Child(pid=pid, index=index, writer=writer, channel=ours)
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(child))

    def _free_writer(self) -> str:
        """While a worker is being replaced, it and the new one have the same index."""
        taken = {child.writer for child in self._children.values()}
        names = (f"{os.getpid()}-{number}" for number in itertools.count(1))
        return next(name for name in names if name not in taken)

    def _let_go(self) -> None:
        """In the child: drop what belongs to the supervisor. An open channel would hide its death from others."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._selector.close()
        for child in self._children.values():
            child.channel.close()
        for end in self._wake:
            end.close()

    def _hear(self, child: Child) -> None:
        for word, content in child.hear():
            if self._stopping:  # it has been told to end, and the port is closed
                continue
            if word == "loaded":
                self._deployed = True
                self._open(content)
                assert self._listener is not None
                child.hand_over(self._listener)
                self._start_missing()
            elif word == "ready":
                self._ready(child)
            elif word == "retire":
                child.retiring = True
                self._start(child.index)
        if child.closed:
            with contextlib.suppress(KeyError):
                self._selector.unregister(child.channel)

    def _open(self, wishes: dict[str, Any]) -> None:
        """Bind the port, unless that has been done; from now on the number of workers is known."""
        self._count = self._options.workers or int(wishes["workers"])
        if self._listener is None:
            host, port = self._options.host or wishes["host"], self._options.port
            self._listener = bind(host, int(wishes["port"]) if port is None else port, self._options.backlog)

    def _start_missing(self) -> None:
        here = {child.index for child in self._children.values()}
        for index in range(1, self._count + 1):
            if index not in here and index not in self._restart_at:
                self._start(index)

    def _ready(self, child: Child) -> None:
        if not self._answered:
            self._answered = True
            assert self._listener is not None
            host, port = self._listener.getsockname()[:2]
            host = f"[{host}]" if ":" in host else host
            say(f"serving {self._options.target} on http://{host}:{port}, {self._count} worker(s)")
        for old in self._children.values():
            # Told once: where workers retire quickly, each new one would else give the old ones more time.
            if old.retiring and old.end_by is None and old.index == child.index and old is not child:
                old.end_by = self._in_time()
                old.signal(signal.SIGTERM)  # its replacement answers: now it may drain

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if child := self._children.pop(pid, None):
                self._bury(child, os.waitstatus_to_exitcode(status))

    def _bury(self, child: Child, code: int) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(child.channel)
        child.channel.close()
        metric_files.forget(child.writer)
        replaced = child.retiring and any(c.index == child.index for c in self._children.values())
        if self._stopping or replaced:
            return
        if not self._answered:
            # It never worked, so it will not work now. It has said why, unless it could not.
            if code < 0:
                memory = ": is there enough memory?" if code == -signal.SIGKILL else ""
                say(f"worker {child.index} (pid {child.pid}) {_ended(code)} before it answered{memory}")
            self._failed = code if code > 0 else 1
            self._stop()
            return
        lived = time.monotonic() - child.started
        short = 0 if lived > _STEADY_S else self._short_lives.get(child.index, 0) + 1
        self._short_lives[child.index] = short
        wait = 0.0 if short <= 1 else min(0.1 * 2**short, _SLOWEST_RESTART_S)
        say(f"worker {child.index} (pid {child.pid}) {_ended(code)}; next one in {wait:.1f} s")
        self._restart_at[child.index] = time.monotonic() + wait

    def _restart(self) -> None:
        for index in [i for i, when in self._restart_at.items() if when <= time.monotonic()]:
            del self._restart_at[index]
            if not self._stopping:
                self._start(index)

    # Ending

    @property
    def _stopping(self) -> bool:
        return self._stop_by is not None

    def _catch_signals(self) -> None:
        """Signals arrive as bytes in a socket, so that nothing happens between two instructions."""
        self._wake = socket.socketpair()
        for end in self._wake:
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake[1].fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(self._wake[0], selectors.EVENT_READ, self._signalled)

    def _signalled(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._wake[0].recv(256):
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._stop(again=number == signal.SIGINT)

    def _stop(self, *, again: bool = False) -> None:
        if self._stopping:
            if again:  # a second Ctrl-C
                self._signal(signal.SIGKILL)
            return
        self._stop_by = self._in_time()
        self._restart_at.clear()
        if self._listener:
            self._listener.close()
        self._signal(signal.SIGTERM)

    def _in_time(self) -> float:
        """By when who is told now has to have ended: it may drain, and run its hooks."""
        return time.monotonic() + self._options.drain_s + 3

    def _kill_late(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            ends = [end for end in (child.end_by, self._stop_by) if end is not None]
            if ends and now > min(ends):
                child.signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        for child in self._children.values():
            child.signal(number)

    def _patience(self) -> float | None:
        late = [self._stop_by, *(child.end_by for child in self._children.values())]
        ends = [*self._restart_at.values(), *(end for end in late if end is not None)]
        return max(0.05, min(ends) - time.monotonic()) if ends else None


def bind(host: str, port: int, backlog: int) -> socket.socket:
    """A listening socket that workers inherit; exits with 1 and a message when that cannot be."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError as error:
        say(f"cannot listen on {host}:{port}: {error.strerror}\n  fix: choose another --host or --port")
        raise SystemExit(1) from None
    return listener


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
