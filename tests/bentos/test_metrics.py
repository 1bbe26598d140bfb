"""What services count is seen at /metrics: of all workers, of all services of a process, of a service made twice."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# In processes of their own: prometheus-client chooses how it counts when it is imported.
SERVE = """
from bentos.metrics import ServiceMetrics
metrics = {name: ServiceMetrics(name, model_version="v1") for name in ("churn", "vehicle_price")}
"""

COUNT = """
import os
def work(times):
    for one in metrics.values():
        for _ in range(times):
            one.cache("miss")
        one.histogram("score", "A score.", [0.5, 1]).observe(0.7)
        one.counter("answers", "Answers.", ["kind"]).labels("good").inc(times)
    one.dropped(times)
"""

IN_WORKERS = """
work(1)  # warm-up, before the fork
for times in (2, 3):
    if (child := os.fork()) == 0:
        work(times)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""

IN_ONE_PROCESS = """
work(6)
from prometheus_client import generate_latest
print(generate_latest().decode())
"""


def said(script: str, **environment: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())


EXPECTED = {
    'churn_cache_total{outcome="miss"} 6.0',
    'churn_cache_total{outcome="hit"} 0.0',
    'churn_answers_total{kind="good"} 6.0',
    'churn_model_info{version="v1"} 1.0',
    'vehicle_price_cache_total{outcome="miss"} 6.0',
    'vehicle_price_answers_total{kind="good"} 6.0',
    'vehicle_price_model_info{version="v1"} 1.0',
    "vehicle_price_inference_log_dropped_total 6.0",
    "churn_inference_log_dropped_total 0.0",
}


def test_services_of_one_process_count_apart() -> None:
    assert said(SERVE + COUNT + IN_ONE_PROCESS) >= {*EXPECTED, 'churn_score_bucket{le="1.0"} 1.0'}


def test_workers_count_together(tmp_path: Path) -> None:
    found = said(SERVE + COUNT + IN_WORKERS, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))

    assert found >= {*EXPECTED, 'churn_score_bucket{le="0.5"} 0.0', 'churn_score_bucket{le="1.0"} 3.0'}


def test_a_service_that_is_made_again_goes_on_counting() -> None:
    assert said(SERVE + SERVE + COUNT + IN_ONE_PROCESS) >= EXPECTED
