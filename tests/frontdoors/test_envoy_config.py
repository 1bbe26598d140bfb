from pathlib import Path
from typing import Any

import pytest

from noren.control.ports import Table
from noren.domain.deployment import Route
from noren.frontdoors import envoy_config as config
from noren.frontdoors.envoy_routes import routes as rds

REPLICA = "127.0.0.1:4001"


def table(name: str = "sentiment", **changes: Any) -> Table:
    fields: dict[str, Any] = {
        "deployment": name,
        "route": Route(prefix=f"/{name}", host=f"{name}.localhost"),
        "backends": {f"{name}-1": (REPLICA,), f"{name}-2": ("127.0.0.1:4002",)},
        "weights": {f"{name}-1": 100},
    }
    return Table(**{**fields, **changes})


def virtual_hosts(*tables: Table) -> dict[str, list[config.Json]]:
    (route_config,) = rds(tables)["resources"]
    return {host["name"]: host["routes"] for host in route_config["virtual_hosts"]}


def guests(route: config.Json) -> dict[str, int]:
    return {share["name"]: share["weight"] for share in route["route"]["weighted_clusters"]["clusters"]}


def asked(routes: list[config.Json]) -> dict[str, str]:
    """What the header may say -> the cluster that it reaches."""
    return {
        header["string_match"]["exact"]: route["route"]["cluster"]
        for route in routes
        for header in route["match"].get("headers", [])
        if header["name"] == config.HEADER and "string_match" in header
    }


def test_a_deployment_is_reached_by_prefix_and_by_host() -> None:
    hosts = virtual_hosts(table())

    assert guests(hosts["prefixes"][-2]) == {"guests/sentiment-1": 100}
    assert hosts["prefixes"][-2]["match"] == {"path_separated_prefix": "/sentiment"}
    assert guests(hosts["host/sentiment"][-1]) == {"guests/sentiment-1": 100}
    assert hosts["host/sentiment"][-1]["match"] == {"prefix": "/"}


def test_the_header_is_looked_at_before_the_weights() -> None:
    routes = virtual_hosts(table(green="sentiment-2", blue="sentiment-1"))["host/sentiment"]

    assert asked(routes) == {
        "blue": "direct/sentiment-1",
        "green": "direct/sentiment-2",
        "sentiment-1": "direct/sentiment-1",
        "sentiment-2": "direct/sentiment-2",
    }
    assert routes[-4]["direct_response"]["status"] == 404  # and then those for whom a second attempt is harmless
    assert routes[-1]["name"] == "guests/sentiment"


def test_a_revision_without_replicas_cannot_be_asked_for() -> None:
    routes = virtual_hosts(table(backends={"sentiment-2": ()}, weights={}, green="sentiment-2"))

    assert asked(routes["prefixes"]) == {}


def test_without_weights_guests_are_told_that_nothing_is_live() -> None:
    answer = virtual_hosts(table(weights={"sentiment-1": 0}))["host/sentiment"][-1]["direct_response"]

    assert answer["status"] == 503
    assert "no revision of sentiment is live yet" in answer["body"]["inline_string"]


def test_longer_prefixes_are_tried_first() -> None:
    inner = table("inner", route=Route(prefix="/shop/inner/", host=""))
    outer = table("outer", route=Route(prefix="/shop", host=""))
    root = table("root", route=Route(prefix="/", host=""))
    routes = virtual_hosts(root, outer, inner)["prefixes"]

    names = [route["name"] for route in routes if "name" in route]
    assert names == ["guests/inner", "guests/outer", "guests/root"]


def test_a_prefix_is_data_and_not_a_pattern() -> None:
    route = virtual_hosts(table(route=Route(prefix="/a.b+c", host="")))["prefixes"][-2]

    assert route["route"]["regex_rewrite"]["pattern"]["regex"] == r"^/a\.b\+c/?"


def test_every_revision_has_a_cluster_for_guests_and_one_for_the_gate() -> None:
    found = config.clusters([table()])

    assert sorted(found) == [
        "direct/sentiment-1",
        "direct/sentiment-2",
        "guests/sentiment-1",
        "guests/sentiment-2",
    ]
    (locality,) = found["guests/sentiment-1"]["load_assignment"]["endpoints"]
    assert locality["lb_endpoints"] == [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 4001}}}}
    ]


def test_no_route_names_a_cluster_that_does_not_exist() -> None:
    lost = table(backends={}, weights={"sentiment-1": 100})

    assert "guests/sentiment-1" in config.clusters([lost])


def test_sick_replicas_get_traffic_only_where_all_are_sick_and_health_is_asked_without_traffic_too() -> None:
    cluster = config.clusters([table()])["guests/sentiment-1"]

    assert cluster["common_lb_config"] == {"healthy_panic_threshold": {"value": 1}, "update_merge_window": "0s"}
    assert cluster["health_checks"][0]["no_traffic_interval"] == "0.5s"


def test_only_requests_that_no_replica_saw_are_sent_again() -> None:
    for route in (virtual_hosts(table())["host/sentiment"][-1], virtual_hosts(table())["host/sentiment"][0]):
        assert route["route"]["retry_policy"]["retry_on"] == "connect-failure,refused-stream,reset-before-request"
        assert "hedge_policy" not in route["route"]


def test_guests_who_may_ask_twice_go_the_same_ways_and_are_asked_again_when_nothing_comes() -> None:
    *_, by_method, by_key, others = virtual_hosts(table())["host/sentiment"]

    assert by_method["match"]["headers"] == [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}]
    assert by_key["match"]["headers"] == [{"name": "idempotency-key", "present_match": True}]
    for route in (by_method, by_key):
        assert guests(route) == guests(others)
        assert "name" not in route  # or its weights would be taken for the deployment's
        assert route["route"]["retry_policy"]["retry_on"].endswith(",reset")
        assert "5" not in route["route"]["retry_policy"]["retry_on"]  # an answer is an answer
        assert route["route"]["hedge_policy"] == {"hedge_on_per_try_timeout": True}


def test_second_attempts_have_a_budget_and_never_all_replicas_are_put_out() -> None:
    cluster = config.clusters([table()])["guests/sentiment-1"]
    (limits,) = cluster["circuit_breakers"]["thresholds"]

    assert limits["retry_budget"] == {"budget_percent": {"value": 20}, "min_retry_concurrency": 100}
    assert cluster["outlier_detection"]["max_ejection_percent"] == 50
    assert not cluster["outlier_detection"]["always_eject_one_host"]


def test_envoy_is_given_all_that_it_reads_at_its_start_to_check(tmp_path: Path) -> None:
    bootstrap = config.bootstrap(tmp_path, admin_port=9901)
    listeners = config.listeners(tmp_path, host="127.0.0.1", port=1, access_log=tmp_path / "log")

    checked = config.standalone(bootstrap, listeners)

    (listener,) = checked["static_resources"]["listeners"]
    assert listener["name"] == config.HTTP
    assert "@type" not in listener
    assert set(checked["dynamic_resources"]) == {"cds_config"}
    assert checked["admin"] == bootstrap["admin"]


def test_the_version_tells_contents_apart() -> None:
    one, other = table(), table(weights={"sentiment-2": 100})

    assert rds([one])["version_info"] == rds([one])["version_info"]
    assert rds([one])["version_info"] != rds([other])["version_info"]


def test_the_access_log_has_no_query_strings(tmp_path: Path) -> None:
    (listener,) = config.listeners(tmp_path, host="127.0.0.1", port=1, access_log=tmp_path / "log")["resources"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]

    line = manager["access_log"][0]["typed_config"]["log_format"]["json_format"]
    assert line["path"] == "%PATH(NQ:ORIG_OR_PATH)%"
    assert "%REQ(:PATH)%" not in line.values()


def test_the_admin_page_is_on_the_loopback_only(tmp_path: Path) -> None:
    admin = config.bootstrap(tmp_path, admin_port=9901)["admin"]

    assert admin["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 9901}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"route": Route(prefix="sentiment", host="")}, "'sentiment' is no path prefix"),
        ({"route": Route(prefix="/a?b", host="")}, "'/a?b' is no path prefix"),
        ({"route": Route(prefix="/a", host="*")}, "'*' is no host name"),
        ({"backends": {"sentiment-1": ("",)}}, "'' is no address"),
        ({"backends": {"sentiment-1": ("localhost:80",)}}, "'localhost:80' is no address"),
        ({"backends": {"sentiment-1": ("127.0.0.1:99999",)}}, "'127.0.0.1:99999' is no address"),
        ({"weights": {"%REQ(cookie)%": 100}}, "'%REQ(cookie)%' is no name"),
        ({"weights": {"sentiment-1": -1}}, "-1 is no weight in per cent"),
        ({"route": Route(prefix="/churn/", host="")}, "churn has the path prefix"),
        ({"route": Route(prefix="/x", host="CHURN.localhost")}, "churn has the host"),
    ],
)
def test_what_would_make_envoy_refuse_everything_is_found_before(changes: Any, problem: str) -> None:
    assert problem in str(config.problem_with(table(**changes), [table("churn")]))


def test_a_sound_table_has_no_problem() -> None:
    sound = table(backends={"sentiment-1": ("127.0.0.1:1", "[::1]:2")})

    assert config.problem_with(sound, [table("churn")]) is None
