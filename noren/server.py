"""The control plane's own process: one per home, its API in front, its loop in a thread."""

import fcntl
import logging
import logging.handlers
import signal
import sys
import threading
from pathlib import Path
from typing import IO

import structlog
import uvicorn
from structlog.typing import Processor

from noren import settings
from noren.api import wire
from noren.bootstrap import control_plane
from noren.domain.errors import Conflict, DriverError, NorenError
from noren.machine import listener

_LOG_BYTES = 10_000_000


def main() -> None:
    """Run until SIGTERM. The data plane, replicas and front door, stays up."""
    try:
        chosen = settings.load()
        home = settings.writable_home(chosen.home)
        lock = only_one(chosen.lock_file)
        if owner := listener(chosen.port):
            raise DriverError(f"port {chosen.port} is taken by {owner}", fix="stop it, or set NOREN_PORT")
        _log_to(home / "logs" / "server.log")
        plane = control_plane(chosen)
        settings.remember_runtime(chosen)
    except NorenError as error:
        sys.exit(f"noren: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    # uvicorn ends on SIGTERM and then raises it once more: by default that would end us before the loop has.
    signal.signal(signal.SIGTERM, lambda *_: None)
    ticking = threading.Thread(target=plane.loop.run, name="loop")
    sweeping = threading.Thread(target=plane.sweeper.run, name="sweeper", daemon=True)
    ticking.start()
    sweeping.start()
    try:
        uvicorn.run(plane.app, host=chosen.host, port=chosen.port, **wire.OPTIONS)
    finally:
        plane.sweeper.stop()
        plane.loop.stop()
        ticking.join()
        lock.close()


def only_one(lock_file: Path) -> IO[str]:
    """Hold the lock for as long as we live. Raises Conflict when another control plane has it."""
    lock = lock_file.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise Conflict(
            f"a control plane is already running for {lock_file.parent}",
            fix="`noren status` shows it, `noren down` stops it",
        ) from error
    return lock


def _log_to(path: Path) -> None:
    """Everything as JSON lines, rotated."""
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=3)
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[Processor] = [structlog.stdlib.add_log_level, stamp, structlog.processors.format_exc_info]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line per probe is no news
    logging.getLogger("alembic").setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    main()
