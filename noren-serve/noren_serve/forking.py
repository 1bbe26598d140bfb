"""Loading a service, before or after the fork, and the life of a worker after it."""

import atexit
import contextlib
import gc
import os
import socket
import sys
import traceback
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from noren_serve import metric_files
from noren_serve.child import receive_listener, tell
from noren_serve.console import say
from noren_serve.options import Options

UNSUPPORTED = 69  # exit code: the service needs what this server lacks (EX_UNAVAILABLE of sysexits.h)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A service in memory, ready to be shared by forked workers."""

    service: Any
    instance: Any
    wishes: dict[str, Any]  # see worker.Listen


def preload(options: Options) -> Loaded | None:
    """Load the service in this process; None when forked workers could not use it safely."""
    from noren_serve import worker

    before = open_files()
    service = load(options)
    worker.deploy(service)
    worker.warm()
    wishes = asdict(worker.listen(service))
    try:
        instance = service()
    except Exception as error:  # noqa: BLE001  perhaps it only lacks the event loop that a worker has
        if options.preload == "always":
            explain(error, options.target)
            raise SystemExit(1) from None
        return None
    left = [*(["threads"] if thread_count() > 1 else []), *sorted(open_files() - before)]
    if left and options.preload != "always":
        return None
    gc.collect()
    gc.freeze()  # a collection in a worker would write to, and so copy, every shared page
    return Loaded(service=service, instance=instance, wishes=wishes)


def load(options: Options) -> Any:
    """Import the service. Ends the process with a message when that cannot be."""
    from noren_serve import worker

    metric_files.name_by_writer()
    try:
        return worker.load(options)
    except worker.Unsupported as error:
        lines = "".join(f"\n  - {reason}" for reason in error.reasons)
        say(f"{options.target} needs what noren-serve does not do:{lines}")
        if not options.fallback:
            say("fix: change the service, or give --fallback to serve it with `bentoml serve`")
        raise SystemExit(UNSUPPORTED) from None
    except Exception as error:  # noqa: BLE001  whatever the user's module raises
        explain(error, options.target)
        raise SystemExit(1) from None


def live(
    options: Options,
    loaded: Loaded | None,
    listener: socket.socket | None,
    channel: socket.socket,
    *,
    index: int,
    writer: str,
    first: bool,
) -> NoReturn:
    """The life of a forked worker. Never returns: what the supervisor would do at its end is not ours to do."""
    code, supervisor = 1, os.getppid()
    metric_files.write_as(writer)
    try:
        code = _live(options, loaded, listener, channel, index=index, first=first)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)  # noqa: T201
    except KeyboardInterrupt:
        code = 0
    except EOFError:
        code = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            atexit._run_exitfuncs()  # traces are sent, logs closed; the supervisor's own clean-up is none of these
        flush()
        if os.getppid() != supervisor:  # it was killed, and cannot clean up any more
            metric_files.remove_folder()
        os._exit(code)


def _live(
    options: Options,
    loaded: Loaded | None,
    listener: socket.socket | None,
    channel: socket.socket,
    *,
    index: int,
    first: bool,
) -> int:
    from noren_serve import worker

    if loaded:
        # Finalizers made before the fork, say of a temporary folder, are the supervisor's: all workers share what
        # they would remove.
        finalizers: Any = weakref.finalize
        finalizers._registry.clear()
    service, instance = (loaded.service, loaded.instance) if loaded else (load(options), None)
    if not loaded and first:
        if not options.deployed:
            worker.deploy(service)
        tell(channel, "loaded", asdict(worker.listen(service)))
        handed = receive_listener(channel)
        listener = listener or handed
    assert listener is not None
    on_ready: Callable[[], None] = lambda: tell(channel, "ready")  # noqa: E731
    return worker.serve(
        service,
        instance,
        listener,
        options,
        index=index,
        channel=channel,
        ready=on_ready,
        retire=lambda: tell(channel, "retire"),
    )


def flush() -> None:
    """Write what was printed: after a fork it would be written twice, after an exec not at all."""
    for out in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # whoever read them is gone
            out.flush()


def explain(error: BaseException, target: str) -> None:
    """Say why a service could not be loaded: its own traceback where its code failed, one line otherwise."""
    from bentoml.exceptions import BentoMLException

    if isinstance(error, BentoMLException) and not isinstance(error.__cause__, SyntaxError):
        say(f"cannot load {target}: {error}")
        return
    traceback.print_exception(error)
    say(f"cannot load {target}: see the traceback above")


def open_files() -> set[str]:
    """What is open in this process: descriptor and where it leads (Linux)."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{entry.name} -> {entry.readlink()}")
        except OSError:  # the descriptor of this very listing
            continue
    return {name for name in found if not name.endswith(("/fd", "/dev/null"))}


def thread_count() -> int:
    """Threads of this process, those of native libraries included (Linux)."""
    return len(list(Path("/proc/self/task").iterdir()))
