"""The first life of a replica's container: build the image if it is not there, then have the engine start it.

Done in a process of its own, like the first life of a replica that is a process, and for the same reasons.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from noren.runtimes.lock import lock
from noren.runtimes.passed_on import ENGINE_PREFIXES, passed_on


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """All that it takes. Passed on as an argument, which every user of the machine can read: no secret is in it."""

    engine: str
    image: str
    build: Sequence[str]  # the command that makes the image
    lock: str  # the file whose lock the builder of the image holds
    container: str
    run: Sequence[str]  # the command that starts the container
    env_file: str

    def argv(self) -> list[str]:
        """The command that does it."""
        return [sys.executable, "-m", __name__, json.dumps(dataclasses.asdict(self))]


def main(launch: Launch) -> None:
    """Return when the container runs; the exit code is 1 with a message when it cannot."""
    with lock(Path(launch.lock)):
        if not _is_there(launch):
            _say(f"building {launch.image}")
            if code := _build(launch.build):
                Path(launch.env_file).unlink(missing_ok=True)
                sys.exit(f"noren: {launch.image} could not be built (exit code {code}): see the lines above")
    # Whoever ends us now waits for the engine, or a container that nobody waits for would come up behind our back.
    signal.signal(signal.SIGTERM, lambda *_: None)
    env = passed_on(*ENGINE_PREFIXES)  # without our marks: what the engine leaves running is not ours to find by them
    subprocess.run(_remove(launch), env=env, capture_output=True, check=False)
    _say(f"starting {launch.container} of {launch.image}")
    done = subprocess.run(launch.run, env=env, capture_output=True, text=True, check=False)
    Path(launch.env_file).unlink(missing_ok=True)
    if done.returncode:
        subprocess.run(_remove(launch), env=env, capture_output=True, check=False)
        sys.exit(f"noren: {launch.engine} could not start {launch.container}: {done.stderr.strip()}")


def read(argument: str) -> Launch:
    """The other end of `Launch.argv`."""
    fields: Mapping[str, object] = json.loads(argument)
    return Launch(**fields)  # type: ignore[arg-type]


def _build(argv: Sequence[str]) -> int:
    """Run it with all that it starts in a group of their own, which ends when we are told to."""
    with subprocess.Popen(argv, process_group=0) as build:
        signal.signal(signal.SIGTERM, lambda *_: os.killpg(build.pid, signal.SIGTERM))
        return build.wait()


def _is_there(launch: Launch) -> bool:
    argv = [launch.engine, "image", "inspect", launch.image]
    return subprocess.run(argv, env=passed_on(*ENGINE_PREFIXES), capture_output=True, check=False).returncode == 0


def _remove(launch: Launch) -> list[str]:
    return [launch.engine, "rm", "--force", launch.container]


def _say(what: str) -> None:
    print(f"noren: {what}", flush=True)  # noqa: T201  the log is stdout


if __name__ == "__main__":
    main(read(sys.argv[1]))
