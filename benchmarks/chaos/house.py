"""A whole Noren in an empty home, driven by the command line as a person would, and broken by signals."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks.chaos.guests import Guests
from noren.machine import Machine, Marked, free_port

NAME = "echo"
_NOREN = str(Path(sys.executable).with_name("noren"))
_PORTS = ("NOREN_PORT", "NOREN_FRONT_DOOR_PORT", "NOREN_ADMIN_PORT")
# Nothing is waited for longer than it must be; no gate: what is looked at is how traffic moves, not who passes.
_STRATEGY: Mapping[str, Any] = {
    "steps": [10, 50, 100],
    "step_wait": "2s",
    "step_requests": 0,
    "bake": "3s",
    "drain_within": "10s",
}
_GATES: Mapping[str, Any] = {"smoke": False, "load": False}


class House:
    """One home with ports of its own."""

    def __init__(self, folder: Path, bentoml_home: Path, envs: Path, *, database_url: str = "") -> None:
        self.home, self.mischief = folder / "home", folder / "mischief"
        for path in (self.home, self.mischief):
            path.mkdir(parents=True)
        (self.home / "envs").symlink_to(envs)  # made once for all homes: it is not what is measured
        self.ports = {name: free_port() for name in _PORTS}
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("NOREN_", "BENTOML_"))}
        homes = {"NOREN_HOME": str(self.home), "BENTOML_HOME": str(bentoml_home)}
        database = {"NOREN_DATABASE_URL": database_url} if database_url else {}
        ports = {name: str(port) for name, port in self.ports.items()}
        self._environment = {**ours, **ports, **homes, **database, "BENTOML_DO_NOT_TRACK": "True"}
        self.machine = Machine(self.home)
        self._http = httpx.Client(timeout=30, trust_env=False)
        self._applied = 0

    @property
    def url(self) -> str:
        """Where guests ask."""
        return f"http://127.0.0.1:{self.ports['NOREN_FRONT_DOOR_PORT']}/{NAME}"

    # Commands

    def run(self, *arguments: str | Path, expect: int | None = 0) -> str:
        """Type a command and wait for its end; what it says."""
        argv = [_NOREN, *map(str, arguments)]
        done = subprocess.run(
            argv, env=self._environment, cwd=self.home, capture_output=True, text=True, timeout=300, check=False
        )
        if expect is not None and done.returncode != expect:
            raise SystemExit(f"`noren {' '.join(argv[1:])}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def up(self) -> float:
        """Start it; the seconds until it was up."""
        began = time.monotonic()
        self.run("up")
        return time.monotonic() - began

    def down(self) -> None:
        """End all of it, and see that nothing is left."""
        self.run("down", "--grace", "5")
        if left := self.machine.processes():
            raise SystemExit(f"`noren down` left {left}")

    def apply(self, *options: str, **fields: Any) -> str:
        """Declare a new revision, always of the other Bento; its name."""
        self._applied += 1
        document = {
            "name": NAME,
            "bento": f"echo:v{1 + self._applied % 2}",
            "replicas": 2,
            "env": {"MISCHIEF": str(self.mischief), "ROUND": self._applied},
            "gates": {**_GATES, **fields.pop("gates", {})},
            "strategy": {**_STRATEGY, **fields.pop("strategy", {})},
            **fields,
        }
        file = self.home.parent / "deployment.yaml"
        file.write_text(yaml.safe_dump(document))
        return str(json.loads(self.run("apply", file, "--json", *options))[0]["revision"]["name"])

    def ask(self, verb: str) -> None:
        """abort, rollback and the like, without the second that the command line needs to start."""
        self._http.post(f"{self._api}/{verb}").raise_for_status()

    def live(self, **fields: Any) -> str:
        """Apply a revision, wait until it is all there is, and return its name."""
        name = self.apply(**{"strategy": {"steps": [100], "bake": "0s"}} | fields)
        self.until(self.at_rest)
        return name

    # Looking

    @property
    def _api(self) -> str:
        return f"http://127.0.0.1:{self.ports['NOREN_PORT']}/noren/v1/deployments/{NAME}"

    def look(self) -> dict[str, Any]:
        """The deployment as the API has it now; {} while it does not say."""
        try:
            answer = self._http.get(self._api)
            found: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError):
            return {}
        return found if answer.is_success else {}

    def state(self) -> str:
        """Of the rollout: "shifting(50)", "done"; "" while nobody says."""
        return str((self.look().get("rollout") or {}).get("state", ""))

    def at_rest(self) -> bool:
        """Whether one revision has all the traffic, is ready, and nothing else runs."""
        seen = self.look()
        rollout, live = seen.get("rollout"), seen.get("live")
        if not (rollout and live) or rollout["active"]:
            return False
        replicas = [(replica["revision"], replica["state"]) for replica in seen["replicas"]]
        return seen["weights"] == {live["name"]: 100} and replicas == [(live["name"], "ready")] * live["replicas"]

    def serving(self) -> str:
        """The name of the revision that is live."""
        found: list[str] = []

        def look() -> bool:
            live = self.look().get("live")
            found.extend([live["name"]] if live else [])
            return bool(found)

        self.until(look)
        return found[0]

    def door_stat(self, name: str) -> int:
        """A number of Envoy's, asked for on a new connection: one that is kept may lead to the Envoy before."""
        url = f"http://127.0.0.1:{self.ports['NOREN_ADMIN_PORT']}/stats"
        asked = {"format": "json", "filter": f"^{re.escape(name)}$"}
        rows = httpx.get(url, params=asked, timeout=10, trust_env=False).raise_for_status().json()["stats"]
        return sum(int(row.get("value", 0)) for row in rows)

    def told_at(self, kind: str, after: float) -> float:
        """When the first event of that kind after `after` was taken down; both in seconds since 1970."""
        events = self._http.get(f"{self._api}/events").raise_for_status().json()
        times = [datetime.fromisoformat(event["at"]).timestamp() for event in events if event["kind"] == kind]
        return next(at for at in times if at >= after - 0.01)

    def until(self, claim: Callable[[], object], within: float = 180.0) -> float:
        """Wait until the claim holds; the seconds it took."""
        began = time.monotonic()
        while not claim():
            if time.monotonic() > began + within:
                raise SystemExit(f"it never came true; at last: {json.dumps(self.look(), indent=1)}")
            time.sleep(0.1)  # each look costs the cores that are measured
        return time.monotonic() - began

    def until_state(self, *states: str) -> str:
        """Wait for one of them; which it was."""
        self.until(lambda: self.state() in states)
        return self.state()

    def guests(self, rate: float, path: str = "say") -> Guests:
        """Guests who ask at that rate."""
        return Guests(f"{self.url}/{path}", rate=rate)

    # Breaking

    def leaders(self, kind: str, revision: str = "") -> list[Marked]:
        """The processes of that kind that were started, without their children."""
        found = [p for p in self.machine.processes(kind) if p.leads]
        return [p for p in found if not revision or p.env.get("NOREN_REVISION") == revision]

    def kill_server(self) -> None:
        """`kill -9` of the control plane."""
        self.machine.signal("server", "server", signal.SIGKILL, all_of_it=True)
        self.until(lambda: not self.machine.processes("server"))

    def signal_replica(self, revision: str, index: int, signum: signal.Signals) -> None:
        """To all processes of a replica."""
        self.machine.signal("replica", f"{revision}/{index}", signum, all_of_it=True)

    def kill_everything(self) -> None:
        """What a power cut does: all at once."""
        while processes := self.machine.processes():
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)

    @contextlib.contextmanager
    def sick(self, revision: str, index: int, how: str) -> Iterator[None]:
        """Tell a replica to fail, and tell it to be sound again: "error", "slow", "leak" or "unready"."""
        file = self.mischief / f"{revision}.{index}"
        file.write_text(how)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)

    def pids(self, revision: str) -> dict[int, int]:
        """Index -> pid of the replicas that answer."""
        return {r["index"]: r["pid"] for r in self.look().get("replicas", []) if _serves(r, revision)}


def _serves(replica: Mapping[str, Any], revision: str) -> bool:
    return bool(replica["revision"] == revision and replica["state"] == "ready")
