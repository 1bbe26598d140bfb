"""Tables -> which request goes to which cluster. Pure."""

import re
from collections.abc import Iterable

from noren.control.ports import Table
from noren.frontdoors.envoy_config import (
    DIRECT,
    GUESTS,
    HEADER,
    HTTP,
    IDLE_S,
    LIVENESS,
    LONGEST_S,
    Json,
    resources,
    trimmed,
    typed,
)

# configuration/http/http_filters/router_filter, x-envoy-retry-on, and api-v3/config/route/v3/route_components.proto.
_RETRIES = {
    # Only where the replica cannot have seen the request: a prediction may cost money, or change something.
    "retry_on": "connect-failure,refused-stream,reset-before-request",
    "num_retries": 2,
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            },
        }
    ],
    # Nobody waits for a dead replica, so each draw finds it again (see envoy_config._CHOICES) unless all choices are
    # the other one: of two replicas in 1 of 16 draws.
    "host_selection_retry_max_attempts": 100,
}

# What may be asked twice is, also where the connection was lost in the middle, or nothing has come for so long. An
# answer is never asked for again, not even a 500: it is the service's word, and the rollout is judged by it.
_AGAIN_AFTER_S = 5
_SAFE_RETRIES = {
    **_RETRIES,
    "retry_on": f"{_RETRIES['retry_on']},reset",
    "per_try_timeout": f"{_AGAIN_AFTER_S}s",
}
# The first attempt goes on meanwhile, and the answer that comes first is taken (arch_overview/http/http_routing): so a
# replica that hangs costs seconds, and one that is only slow costs nothing but a second attempt.
_HEDGE = {"hedge_on_per_try_timeout": True}

# Which requests may be asked twice: those that change nothing (RFC 9110, 9.2.2), and those that say so themselves.
_IDEMPOTENT: tuple[Json, ...] = (
    {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}},
    {"name": "idempotency-key", "present_match": True},
)


def routes(tables: Iterable[Table]) -> Json:
    """RDS: by host, then by the longest path prefix; in a deployment by header, then by weight."""
    by_prefix = sorted(tables, key=lambda t: (-len(trimmed(t.route.prefix)), t.deployment))
    anywhere = {
        "name": "prefixes",
        "domains": ["*"],
        "routes": [
            {"match": {"path": LIVENESS}, **_answer(200, "the front door is open")},
            *(route for table in by_prefix for route in _routes_of(table, trimmed(table.route.prefix))),
            {"match": {"prefix": "/"}, **_answer(404, "no deployment here; `noren status` lists them")},
        ],
    }
    by_host = [
        {"name": f"host/{table.deployment}", "domains": [table.route.host], "routes": _routes_of(table, "")}
        for table in sorted(tables, key=lambda t: t.deployment)
        if table.route.host
    ]
    return resources(
        [
            typed(
                "envoy.config.route.v3.RouteConfiguration",
                name=HTTP,
                virtual_hosts=[*by_host, anywhere],
                ignore_port_in_host_matching=True,
                # Clusters are written first; one that is still warming answers 503 and rejects nothing.
                validate_clusters=False,
            )
        ]
    )


def _routes_of(table: Table, prefix: str) -> list[Json]:
    here: Json = {"path_separated_prefix": prefix} if prefix else {"prefix": "/"}
    by_name: list[Json] = [
        {
            "match": {**here, "headers": [{"name": HEADER, "string_match": {"exact": asked}}]},
            "route": {"cluster": DIRECT + name, **_forward(prefix)},
            "response_headers_to_add": _named(name),
        }
        for asked, name in _names(table).items()
    ]
    return [
        *by_name,
        {
            "match": {**here, "headers": [{"name": HEADER, "present_match": True}]},
            **_answer(404, f"no such revision of {table.deployment} runs; `noren status` lists those that do"),
        },
        # Before those of all other guests, and without a name: the weights are read from the route that has one.
        *({"match": {**here, "headers": [such]}, **_by_weight(table, prefix, twice=True)} for such in _IDEMPOTENT),
        {"name": GUESTS + table.deployment, "match": here, **_by_weight(table, prefix)},
    ]


def _names(table: Table) -> dict[str, str]:
    """What a request may ask for -> the revision. Only revisions that have replicas."""
    asked = {name: name for name in table.backends}
    asked |= {alias: name for alias, name in (("green", table.green), ("blue", table.blue)) if name}
    return {alias: name for alias, name in sorted(asked.items()) if table.backends.get(name)}


def _by_weight(table: Table, prefix: str, *, twice: bool = False) -> Json:
    shares = {name: share for name, share in sorted(table.weights.items()) if share > 0}
    if not shares:
        return _answer(503, f"no revision of {table.deployment} is live yet; `noren status` shows how far it is")
    clusters = [
        {"name": GUESTS + name, "weight": share, "response_headers_to_add": _named(name)}
        for name, share in shares.items()
    ]
    return {"route": {"weighted_clusters": {"clusters": clusters}, **_forward(prefix, twice=twice)}}


def _forward(prefix: str, *, twice: bool = False) -> Json:
    """How a request is sent on; `twice`: it may reach a replica that has begun to answer it, and then another one."""
    again: Json = {"retry_policy": _SAFE_RETRIES, "hedge_policy": _HEDGE} if twice else {"retry_policy": _RETRIES}
    forward: Json = {"timeout": f"{LONGEST_S}s", "idle_timeout": f"{IDLE_S}s", **again}
    if prefix:
        # prefix_rewrite would turn "/sentiment/x" into "//x", or leave "/sentiment" without a path.
        pattern = {"regex": f"^{re.escape(prefix)}/?"}
        forward["regex_rewrite"] = {"pattern": pattern, "substitution": "/"}
    return forward


def _named(revision: str) -> list[Json]:
    header = {"key": HEADER, "value": revision}
    return [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]


def _answer(status: int, detail: str) -> Json:
    return {"direct_response": {"status": status, "body": {"inline_string": detail}}}
