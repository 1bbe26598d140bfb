"""The command line of noren-serve. Standard library only: the supervisor holds nothing else in memory."""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from noren_serve import __version__

_DESCRIPTION = "Serve a Bento several times faster than `bentoml serve`, with the same routes and the same answers."


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for. None: the service's own configuration decides (see Listen)."""

    target: str
    host: str | None
    port: int | None
    workers: int | None
    working_dir: str | None
    arguments: dict[str, str]  # of the Bento (bentoml.use_arguments)
    fallback: bool
    preload: str  # auto, always, never
    max_body: int  # bytes; 0: no limit
    max_concurrency: int  # requests in flight in one worker; 0: no limit
    max_requests: int  # after which a worker is replaced; 0: never
    max_requests_jitter: int
    drain_s: float
    keep_alive_s: int
    backlog: int
    deployed: bool  # what happens once for a deployment has happened


def parse(argv: list[str] | None = None) -> Options:
    """Read the arguments; exits with 2 and a message on a mistake."""
    parser = argparse.ArgumentParser(prog="noren-serve", description=_DESCRIPTION)
    add = parser.add_argument
    add(
        "target",
        nargs="?",
        default=".",
        help="tag of a Bento, a folder (default: this), or an import string like service:Svc",
    )
    add(
        "-p", "--port", type=_port, default=_environment("BENTOML_PORT", _port), help="default: the service's own, 3000"
    )
    add("--host", default=os.environ.get("BENTOML_HOST") or None, help="address to listen on; default 127.0.0.1")
    add(
        "--workers",
        "--api-workers",
        type=_workers,
        default=_environment("BENTOML_API_WORKERS", _workers),
        help="processes; default: the service's own, 1",
    )
    add("--working-dir", help="where an import string is found; default: the current folder, or the target's")
    add("--arg", action="append", default=[], metavar="KEY=VALUE", help="an argument of the Bento; may be repeated")
    add("--fallback", action="store_true", help="start `bentoml serve` when the service needs what this server lacks")
    add(
        "--preload",
        choices=("auto", "always", "never"),
        default="auto",
        help="load once and fork the workers; auto, the default: if loading left neither threads nor open files behind",
    )
    add(
        "--max-body",
        type=_bytes,
        default=100 << 20,
        metavar="BYTES",
        help="larger bodies get 413; 0: any; default 100 MiB",
    )
    add(
        "--max-concurrency",
        type=_count,
        default=0,
        metavar="N",
        help="requests in flight per worker, then 503; default 0: any",
    )
    add(
        "--max-requests",
        type=_count,
        default=0,
        metavar="N",
        help="replace a worker after N requests; default 0: never",
    )
    add("--max-requests-jitter", type=_count, default=0, metavar="N", help="add up to N at random, so not all at once")
    add(
        "--drain",
        dest="drain_s",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="time for open requests at the end; default 30",
    )
    add(
        "--keep-alive",
        dest="keep_alive_s",
        type=_count,
        default=5,
        metavar="S",
        help="how long idle connections stay; default 5",
    )
    add("--backlog", type=_count, default=65535, help=argparse.SUPPRESS)  # the kernel has a limit of its own
    add("--deployed", action="store_true", help=argparse.SUPPRESS)
    add("--version", action="version", version=f"noren-serve {__version__}")
    given = vars(parser.parse_args(argv))
    pairs = [pair.partition("=") for pair in given.pop("arg")]
    if wrong := [name for name, sign, _ in pairs if not (name and sign)]:
        parser.error(f"argument --arg: {wrong[0]!r} is not KEY=VALUE")
    return Options(**given, arguments={name: value for name, _, value in pairs})


def _environment(name: str, kind: Callable[[str], int]) -> int | None:
    text = os.environ.get(name)
    if not text:
        return None
    try:
        return kind(text)
    except argparse.ArgumentTypeError as error:
        print(f"noren-serve: {name}={text}: {error}", file=sys.stderr)  # noqa: T201  this is the command line
        raise SystemExit(2) from None


def _whole(text: str, lowest: int, highest: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if not lowest <= number <= highest:
        raise argparse.ArgumentTypeError(f"{number} is not between {lowest} and {highest}")
    return number


def _port(text: str) -> int:
    return _whole(text, 0, 65535)


def _workers(text: str) -> int:
    return _whole(text, 1, 1024)


def _count(text: str) -> int:
    return _whole(text, 0, 2**31)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 <= seconds <= 86400:  # which is also false of nan
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 86400 seconds")
    return seconds


def _bytes(text: str) -> int:
    return _whole(text, 0, 2**50)
