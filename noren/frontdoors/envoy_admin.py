import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from noren.control.ports import DoorView
from noren.domain.errors import DriverUnavailable
from noren.domain.observation import LADDER_MS, Counts, Weights
from noren.frontdoors.envoy_config import DIRECT, GUESTS, HTTP, LONGEST_MS, Json

# Names of revisions have no dot. Envoy counts everything once more as `<cluster>.external.upstream_rq_...`.
LISTENER_STOPPED = "listener_manager.listener_stopped"
_REQUESTS = rf"^cluster\.({GUESTS}|{DIRECT})([^.]+)\.upstream_rq_(active|pending_active|completed|5xx)$"
_TIMES = rf"^cluster\.{GUESTS}([^.]+)\.upstream_rq_time$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What Envoy counted."""

    values: Mapping[str, int]  # by its own names
    slower: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # revision -> as in Counts


class EnvoyAdmin:
    """Envoy's admin interface on the loopback. Raises DriverUnavailable when it does not answer."""

    def __init__(self, port: int) -> None:
        # No proxy of the environment: the admin interface is on this machine. And a connection for each question: one
        # that is kept would still lead to the old Envoy after a new one has taken over.
        limits = httpx.Limits(max_keepalive_connections=0)
        base_url = f"http://127.0.0.1:{port}"
        self._client = httpx.Client(base_url=base_url, timeout=1, trust_env=False, limits=limits)

    def routes(self) -> Json:
        """The route configuration in force, with its `version_info`; {} before there is one."""
        dump = self._get("/config_dump", resource="dynamic_route_configs")
        configs: list[Json] = dump.get("configs", [])
        return next((c for c in configs if c.get("route_config", {}).get("name") == HTTP), {})

    def clusters(self) -> Json:
        """The clusters in use and their hosts; not those that still wait for their first health check."""
        return self._get("/clusters", format="json")

    def stats(self) -> Stats:
        """Requests per cluster and their times, `server.live`, and whether the listener was closed."""
        return self._stats(rf"{_REQUESTS}|{_TIMES}|^server\.live$|^{re.escape(LISTENER_STOPPED)}$")

    def requests_in_flight(self) -> int:
        """Requests of guests that have no complete answer yet; those of an Envoy that hands over are among them."""
        return sum(self._stats(rf"^http\.{HTTP}\.downstream_rq_active$").values.values())

    def closed(self) -> int:
        """How often the listener was closed, so that no guest came in any more: see `closed_from_outside`."""
        return self._stats(rf"^{re.escape(LISTENER_STOPPED)}$").values.get(LISTENER_STOPPED, 0)

    def predecessors_connections(self) -> int:
        """Connections of guests that the Envoy before this one still has."""
        return sum(self._stats(r"^server\.parent_connections$").values.values())

    def serving(self) -> int | None:
        """Which of the Envoys that take over from each other answers here, once it lets guests in; None before."""
        info = self._get("/server_info")
        if info.get("state") != "LIVE":
            return None
        return int(info.get("command_line_options", {}).get("restart_epoch", 0))

    def drain(self) -> None:
        """Ask Envoy to close connections after their answers, then its listeners."""
        self._ask("POST", "/drain_listeners", {"graceful": ""})

    def _stats(self, pattern: str) -> Stats:
        rows = self._get("/stats", format="json", filter=pattern, histogram_buckets="cumulative")["stats"]
        histograms = (histogram for row in rows for histogram in row.get("histograms", ()))
        return Stats(
            values={row["name"]: row["value"] for row in rows if "name" in row},
            slower={re.sub(_TIMES, r"\1", h["name"]): _slower(h["buckets"]) for h in histograms},
        )

    def _get(self, path: str, **params: str) -> Json:
        answer: Json = self._ask("GET", path, params).json()
        return answer

    def _ask(self, method: str, path: str, params: Mapping[str, str]) -> httpx.Response:
        try:
            return self._client.request(method, path, params=params).raise_for_status()
        except httpx.HTTPError as error:
            raise DriverUnavailable(
                f"the front door's admin page does not answer: {error!r}",
                fix="wait a few seconds; logs/envoy.log says more",
            ) from error


def view(routes: Json, clusters: Json, stats: Stats) -> DoorView:
    """Envoy's own words -> ours.

    `counts` are answers to guests: requests that named a revision by header are not among them, and a retried
    attempt counts once. `in_flight` counts both, and those that wait for a connection.
    """
    in_flight: dict[str, int] = {}
    answers: dict[str, dict[str, int]] = {}
    for name, value in stats.values.items():
        if not (found := re.match(_REQUESTS, name)):
            continue
        kind, revision, what = found.groups()
        if what in ("active", "pending_active"):
            in_flight[revision] = in_flight.get(revision, 0) + value
        elif kind == GUESTS:
            answers.setdefault(revision, {})[what] = value
    return DoorView(
        weights=dict(_weights(routes)),
        healthy=_healthy(clusters),
        in_flight=in_flight,
        counts={
            name: Counts(
                requests=count.get("completed", 0), errors=count.get("5xx", 0), slower=stats.slower.get(name, ())
            )
            for name, count in answers.items()
        },
    )


def closed_from_outside(stats: Stats, generation: int) -> bool:
    """Whether somebody asked the admin page to drain: such an Envoy lives, and lets nobody in.

    One that took over was told by its predecessor, with all else that this counted, that it had closed its listener.
    """
    return stats.values.get(LISTENER_STOPPED, 0) > min(generation, 1)


def ejected(clusters: Json) -> frozenset[str]:
    """The addresses that get no guests now because of how they answered them."""
    return frozenset(
        _address(host)
        for cluster in clusters.get("cluster_statuses", [])
        for host in cluster.get("host_statuses", [])
        if cluster["name"].startswith(GUESTS) and host.get("health_status", {}).get("failed_outlier_check")
    )


def _address(host: Mapping[str, Any]) -> str:
    where = host["address"]["socket_address"]
    ip, port = where["address"], where["port_value"]
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _slower(buckets: list[Json]) -> tuple[int, ...]:
    """The last bucket holds all of the answers. (): an Envoy that was started with other buckets, by another Noren."""
    until = {bucket["upper_bound"]: bucket["cumulative"] for bucket in buckets}
    if not {*LADDER_MS, LONGEST_MS} <= until.keys():
        return ()
    return tuple(until[LONGEST_MS] - until[rung] for rung in LADDER_MS)


def _weights(routes: Json) -> Iterator[tuple[str, Weights]]:
    hosts: list[Json] = routes.get("route_config", {}).get("virtual_hosts", [])
    for route in (route for host in hosts for route in host.get("routes", [])):
        name: str = route.get("name", "")
        if name.startswith(GUESTS):
            shares: list[Json] = route.get("route", {}).get("weighted_clusters", {}).get("clusters", [])
            weights = {share["name"].removeprefix(GUESTS): share.get("weight", 0) for share in shares}
            yield name.removeprefix(GUESTS), weights


def _healthy(clusters: Json) -> dict[str, int]:
    """Replicas that passed the checks of both of their revision's clusters: guests and gate can be served."""
    healthy: dict[str, int] = {}
    for cluster in clusters.get("cluster_statuses", []):
        kind, _, revision = cluster["name"].partition("/")
        if kind + "/" in (GUESTS, DIRECT):
            count = sum(_passes(host) for host in cluster.get("host_statuses", []))
            healthy[revision] = min(count, healthy.get(revision, count))
    return healthy


def _passes(host: Mapping[str, Any]) -> bool:
    # An ejected replica counts as healthy: it answers /readyz, and is back within seconds.
    return not host.get("health_status", {}).get("failed_active_health_check", False)
