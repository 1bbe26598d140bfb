"""noren-serve: serve a Bento. See `noren-serve --help`."""

import math
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from noren_serve import forking, metric_files, supervisor
from noren_serve.console import say
from noren_serve.options import Options, parse

_AGAIN = -1  # not an exit code: what was loaded here cannot be shared
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(argv: list[str] | None = None) -> NoReturn:
    """Run until told to end. Exit codes: 0 after SIGTERM, 1 failed, 2 usage, 69 not supported."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed by whoever started us; a socket must not take its place
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  for good
    options = parse(argv)
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    _share_cores(options.workers or 1)
    metric_files.make_folder()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # while loading; then the supervisor listens to it
    try:
        code = _run(options)
    finally:
        metric_files.remove_folder()
    if code == _AGAIN:
        _start_again()
    if code == forking.UNSUPPORTED and options.fallback:
        _fall_back(options)
    sys.exit(code)


def _run(options: Options) -> int:
    try:
        listener = None
        if options.host is not None and options.port is not None:
            # An address that is taken is told before anything is loaded; otherwise the service has a say in it.
            listener = supervisor.bind(options.host, options.port, options.backlog)
        loaded = forking.preload(options) if _may_fork(options) else None
        if loaded is None and "bentoml" in sys.modules:
            if listener:
                listener.close()
            return _AGAIN
        return supervisor.Supervisor(options, listener, loaded).run()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)  # noqa: T201  this is the command line
        return end.code if isinstance(end.code, int) else 1


def _may_fork(options: Options) -> bool:
    if options.preload == "auto":
        return (options.workers or 1) > 1 and sys.platform == "linux"
    return options.preload == "always"


def _start_again() -> NoReturn:
    """Become a supervisor that has loaded nothing, and does not run the deployment's hooks a second time."""
    say("loading left threads or open files behind, so each worker loads its own copy")
    arguments = [*sys.argv[1:], "--preload", "never", "--deployed"]
    forking.flush()
    os.execv(sys.executable, [sys.executable, "-m", "noren_serve", *arguments])  # noqa: S606  no shell on purpose


def _fall_back(options: Options) -> NoReturn:
    say("falling back to `bentoml serve`")
    argv = ["serve", options.target, "--host", options.host or "127.0.0.1"]
    argv += ["--port", str(options.port)] if options.port is not None else []
    argv += ["--api-workers", str(options.workers)] if options.workers else []
    argv += ["--working-dir", options.working_dir] if options.working_dir else []
    argv += [word for name, value in options.arguments.items() for word in ("--arg", f"{name}={value}")]
    forking.flush()
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", *argv])  # noqa: S606


def _share_cores(workers: int) -> None:
    """Each worker gets its part of the cores; numeric libraries would start a thread for every core in each."""
    if any(os.environ.get(name) for name in _THREADS):
        return
    cores, share = os.cpu_count() or 1, max(1, _cores() // workers)
    if share < cores:
        os.environ.update(dict.fromkeys(_THREADS, str(share)))


def _cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its cgroup (version 2)."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(affinity, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no limit ("max"), or another system
        return affinity


if __name__ == "__main__":
    main()
