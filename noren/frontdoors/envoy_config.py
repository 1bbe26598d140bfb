"""Tables -> Envoy's v3 configuration, as plain dicts. Pure: nothing here reads or writes.

Every revision has two clusters over the same replicas: `guests/<revision>` for what comes by weight, and
`direct/<revision>` for what names the revision by header. So the gate's load is not counted among the
guests' answers, and cannot eject a replica from under them. The routes are in `envoy_routes`.
"""

import hashlib
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from noren.control.ports import Table
from noren.domain.observation import LADDER_MS

Json = dict[str, Any]

HEADER = "x-noren-revision"
GUESTS, DIRECT = "guests/", "direct/"  # what the names of clusters, and of the guests' routes, begin with
HTTP = "front_door"  # stat prefix of the listener's HTTP statistics, and name of its route configuration
LIVENESS = "/-/healthz"

IDLE_S = 60  # a stream on which nothing moved for this long is cut
GUEST_IDLE_S = 300  # a guest's connection on which nothing is asked for this long is closed
LONGEST_S = 300  # the longest answer, however steadily it streams
LONGEST_MS = 2 * LONGEST_S * 1000  # no answer takes longer
_LIMIT = 10_000  # open connections, requests and requests in a queue, per cluster


def problem_with(table: Table, others: Iterable[Table]) -> str | None:
    """What Envoy could not carry out: one bad deployment would make it refuse the tables of all."""
    route = table.route
    for name in (table.deployment, *table.backends, *table.weights):
        # Other characters would not come back from Envoy's statistics, or would mean something in a header.
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            return f"{name!r} is no name of a deployment or revision"
    if not re.fullmatch(r"/[^\s?#]*", route.prefix):
        return f"{route.prefix!r} is no path prefix"
    if re.search(r"[\s*/:]", route.host):
        return f"{route.host!r} is no host name"
    for address in (a for addresses in table.backends.values() for a in addresses):
        if not _is_address(address):
            return f"{address!r} is no address of the form ip:port"
    for share in table.weights.values():
        if not 0 <= share <= 100:
            return f"{share} is no weight in per cent"
    for other in others:
        if other.route.host.lower() == route.host.lower() and route.host:
            return f"{other.deployment} has the host {route.host} already"
        if trimmed(other.route.prefix) == trimmed(route.prefix):
            return f"{other.deployment} has the path prefix {route.prefix} already"
    return None


def bootstrap(folder: Path, *, admin_port: int, lds: str = "lds.json") -> Json:
    """What Envoy is started with: where it is administered and which files it watches."""
    return {
        "node": {"id": "front-door", "cluster": "noren"},
        "admin": {"address": _socket("127.0.0.1", admin_port)},
        # Latencies are counted as `look` reads them, and merged as often as the control plane ticks.
        "stats_flush_interval": "0.5s",
        "stats_config": {
            "histogram_bucket_settings": [{"match": {"prefix": "cluster."}, "buckets": [*LADDER_MS, LONGEST_MS]}]
        },
        "dynamic_resources": {"lds_config": _file(folder / lds), "cds_config": _file(folder / "cds.json")},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": typed(
                        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        max_active_downstream_connections=_LIMIT,
                    ),
                }
            ]
        },
    }


def listeners(folder: Path, *, host: str, port: int, access_log: Path) -> Json:
    """LDS: the one listener."""
    manager = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": _connection_manager(folder / "rds.json", access_log),
    }
    return resources(
        [
            typed(
                "envoy.config.listener.v3.Listener",
                name=HTTP,
                address=_socket(host, port),
                # With it, a second Envoy could share the port and take half of the requests unnoticed.
                enable_reuse_port=False,
                filter_chains=[{"filters": [manager]}],
            )
        ]
    )


def _connection_manager(routes: Path, access_log: Path) -> Json:
    router = typed("envoy.extensions.filters.http.router.v3.Router")
    return typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=HTTP,
        rds={"route_config_name": HTTP, "config_source": _file(routes)},
        http_filters=[{"name": "envoy.filters.http.router", "typed_config": router}],
        access_log=[{"name": "envoy.access_loggers.file", "typed_config": _access_log(access_log)}],
        local_reply_config=_problems(),
        upgrade_configs=[{"upgrade_type": "websocket"}],
        server_name="noren",
        use_remote_address=True,
        normalize_path=True,
        merge_slashes=True,
        preserve_external_request_id=True,  # so that a caller's own id can be followed through
        always_set_request_id_in_response=True,
        max_request_headers_kb=32,
        common_http_protocol_options={"idle_timeout": f"{GUEST_IDLE_S}s", "max_headers_count": 100},
        stream_idle_timeout=f"{IDLE_S}s",
        request_headers_timeout="10s",
        request_timeout=f"{LONGEST_S}s",
        drain_timeout="5s",
    )


def _access_log(path: Path) -> Json:
    # The query is left out: it may carry what a guest would not want to find in a log.
    line = {
        "start_time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "host": "%REQ(:AUTHORITY)%",
        "path": "%PATH(NQ:ORIG_OR_PATH)%",
        "status": "%RESPONSE_CODE%",
        "duration_ms": "%DURATION%",
        "revision": f"%RESP({HEADER})%",
        "cluster": "%UPSTREAM_CLUSTER_RAW%",
        "replica": "%UPSTREAM_HOST%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "flags": "%RESPONSE_FLAGS%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
    }
    return typed(
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        path=str(path),
        log_format={"json_format": line},
    )


def _problems() -> Json:
    """Every refusal that is Envoy's own is a small JSON problem (RFC 9457). The first that fits is taken."""
    refused = {"comparison": {"op": "GE", "value": {"default_value": 400, "runtime_key": "noren.refused"}}}
    return {
        "mappers": [
            _problem(_flag("UH"), "no replica of this revision is healthy; `noren status` shows why"),
            _problem(_flag("UF"), "no replica of this revision can be reached; `noren status` shows why"),
            _problem(_flag("NC"), "this revision is being prepared; try again in a second"),
            _problem({"status_code_filter": refused}),
        ]
    }


def _problem(which: Json, detail: str | None = None) -> Json:
    body = {"body": {"inline_string": detail}} if detail else {}
    form = {
        "json_format": {"status": "%RESPONSE_CODE%", "detail": "%LOCAL_REPLY_BODY%"},
        "content_type": "application/problem+json",
    }
    return {"filter": which, "body_format_override": form, **body}


def _flag(flag: str) -> Json:
    return {"response_flag_filter": {"flags": [flag]}}


def standalone(bootstrap: Json, listeners: Json) -> Json:
    """Both in one file, for Envoy to check before it is started with them."""
    dynamic = {key: value for key, value in bootstrap["dynamic_resources"].items() if key != "lds_config"}
    # In a file of its own a listener names its type; here the place does.
    bare = [{key: value for key, value in one.items() if key != "@type"} for one in listeners["resources"]]
    return {**bootstrap, "dynamic_resources": dynamic, "static_resources": {"listeners": bare}}


def clusters(tables: Iterable[Table]) -> dict[str, Json]:
    """The clusters by name."""
    return {name: _cluster(name, addresses) for name, addresses in members(tables).items()}


def members(tables: Iterable[Table]) -> dict[str, Sequence[str]]:
    """Cluster -> addresses. A revision with weight but without replicas has clusters too: they answer 503."""
    return {
        kind + name: table.backends.get(name, ())
        for table in tables
        for name in {*table.backends, *(name for name, share in table.weights.items() if share)}
        for kind in (GUESTS, DIRECT)
    }


def cluster_resources(found: Mapping[str, Json]) -> Json:
    """CDS."""
    return resources([found[name] for name in sorted(found)])


def _cluster(name: str, addresses: Sequence[str]) -> Json:
    endpoints = [{"endpoint": {"address": _socket(*_split(a))}} for a in sorted(set(addresses))]
    limits = {
        "max_connections": _LIMIT,
        "max_pending_requests": _LIMIT,
        "max_requests": _LIMIT,
        "retry_budget": _RETRY_BUDGET,
    }
    return typed(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        type="STATIC",
        connect_timeout="1s",
        lb_policy="LEAST_REQUEST",
        least_request_lb_config={"choice_count": _CHOICES},
        load_assignment={"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        common_lb_config={"healthy_panic_threshold": {"value": _PANIC_PERCENT}, "update_merge_window": _AT_ONCE},
        circuit_breakers={"thresholds": [limits]},
        health_checks=[_HEALTH],
        outlier_detection=_EJECTION,
        typed_extension_protocol_options={
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                # Shorter than uvicorn's 5 s: a request must not meet the server closing its connection.
                common_http_protocol_options={"idle_timeout": "3s"},
                explicit_http_config={"http_protocol_options": {}},
                outlier_detection={"error_matcher": _FAULT},
            )
        },
    )


# intro/arch_overview/upstream/load_balancing/load_balancers, weighted least request: of so many replicas, drawn at
# random, the one with the fewest open requests is asked. By default it is two, which are often the same one: a replica
# that is slow, or hangs and is not given up yet, would get a quarter of the requests.
_CHOICES = 4

# api-v3/config/cluster/v3/circuit_breaker.proto, RetryBudget: of all that is under way at most this part may be second
# attempts, so that many failures at once do not double the load; a replica that dies at a small load loses nothing.
_RETRY_BUDGET = {"budget_percent": {"value": 20}, "min_retry_concurrency": 100}

# intro/arch_overview/upstream/load_balancing/panic_threshold: sick replicas get nobody as long as one is well. When
# none is, all are asked: they may be no worse than busy, and else everybody would be refused. (By default that begins
# when half are sick.) A revision gets traffic when all its replicas are ready: this is for those that fall ill.
_PANIC_PERCENT = 1

# api-v3/config/cluster/v3/cluster.proto, CommonLbConfig: by default who falls ill within a second after another change,
# or after an ejection that is over, is asked until that second has passed.
_AT_ONCE = "0s"

_HEALTH = {
    # api-v3/config/core/v3/health_check.proto. An answer other than 200 makes a replica unhealthy at once; one that is
    # silent is given up after two checks, at most 5.5 s after it began to hang.
    "http_health_check": {"path": "/readyz", "host": "noren"},
    "timeout": "2s",  # a replica that is busy with a batch may be slow to say that it is well
    "interval": "1s",
    "unhealthy_interval": "0.5s",
    # Without traffic Envoy would look only once a minute, and green has none.
    "no_traffic_interval": "0.5s",
    "no_traffic_healthy_interval": "1s",
    "healthy_threshold": 1,
    "unhealthy_threshold": 2,
}

# api-v3/extensions/upstreams/http/v3/http_protocol_options.proto, OutlierDetection, since Envoy 1.37: only a 500 is a
# fault of the replica. A 503 of the service may mean overload: whoever ejects an overloaded replica overloads the next.
_FAULT = {"http_response_headers_match": {"headers": [{"name": ":status", "string_match": {"exact": "500"}}]}}

_EJECTION = {
    # intro/arch_overview/upstream/outlier; api-v3/config/cluster/v3/outlier_detection.proto
    "split_external_local_origin_errors": True,  # what the network says is counted apart from what the service says
    "consecutive_local_origin_failure": 3,
    "enforcing_consecutive_local_origin_failure": 100,
    "enforcing_local_origin_success_rate": 0,
    # More in a row than a service gives that fails at some of its requests: see _FAULT for what counts.
    "consecutive_5xx": 10,
    "enforcing_consecutive_5xx": 100,
    "enforcing_consecutive_gateway_failure": 0,
    "enforcing_success_rate": 0,
    # /readyz may well answer where nothing else does: by default the next check would bring it back.
    "successful_active_health_check_uneject_host": False,
    "interval": "1s",
    "base_ejection_time": "5s",  # times the number of ejections
    "max_ejection_time": "30s",
    "max_ejection_percent": 50,  # so that the only replica stays, and half of many
    "always_eject_one_host": False,
}


def trimmed(prefix: str) -> str:
    """Without the slash at its end; "" for the root."""
    return prefix.rstrip("/")


def _is_address(text: str) -> bool:
    try:
        host, port = _split(text)
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return 0 < port < 65536


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _socket(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _file(path: Path) -> Json:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def typed(kind: str, **fields: Any) -> Json:
    """A message of Envoy's API that names its own type."""
    return {"@type": f"type.googleapis.com/{kind}", **fields}


def resources(resources: list[Json]) -> Json:
    """A discovery response; its version is its content, so that the admin page tells what is in force."""
    digest = hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()
    return {"version_info": digest[:16], "resources": resources}
