"""`bentoml serve` and `noren-serve` side by side, and a report of how they compared.

The modules beside this file are loaded by path: in importlib mode no test file can import another.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from benchmarks import page

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

if TYPE_CHECKING:
    from tests.serve import servers
    from tests.serve.servers import Pair, Server, Target


def load(path: Path) -> Any:
    """The module of that file, the same one every time."""
    name = f"conformance_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec
        assert spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


if not TYPE_CHECKING:
    servers = load(HERE / "servers.py")

wire = load(HERE / "wire.py")
SERVICES = {path.stem: load(path).CASES for path in sorted((HERE / "cases").glob("*.py"))} | load(HERE / "shop.py").SHOP
differences = load(HERE / "differences.py")
DIFFERENCES, EXTRA_HEADERS = differences.DIFFERENCES, differences.EXTRA_HEADERS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every case of every service for a test that asks for the table, a service and a case."""
    if {"table", "service", "case"} <= set(metafunc.fixturenames):
        rows = [(service, name) for service, cases in SERVICES.items() for name in cases]
        metafunc.parametrize(("service", "case"), rows, ids=[f"{service}-{name}" for service, name in rows])
    if {"service", "header"} <= set(metafunc.fixturenames):
        shown = [(extra["shown_by"].partition("-")[0], name) for name, extra in EXTRA_HEADERS.items()]
        metafunc.parametrize(("service", "header"), shown, ids=list(EXTRA_HEADERS))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is asked of one service follows one another, because the two servers take seconds to start."""
    places = [place for place, item in enumerate(items) if item.path == HERE / "test_conformance.py"]
    ordered = sorted((items[place] for place in places), key=_service)
    for place, item in zip(places, ordered, strict=True):
        items[place] = item


def _service(item: pytest.Item) -> str:
    asked = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return str(asked.get("service", ""))


@pytest.fixture(scope="session")
def table() -> dict[str, Any]:
    """The cases of each service, and how to ask and compare."""
    return {
        "cases": SERVICES,
        "differences": DIFFERENCES,
        "extra_headers": EXTRA_HEADERS,
        "ask": wire.ask,
        "contrast": wire.contrast,
    }


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BentoML home with a small model for every service of the shop."""
    home = tmp_path_factory.mktemp("trained") / "home"
    env = {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", "PATH": "", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, HERE / "small_models.py"], cwd=ROOT, env=env, check=True, timeout=120)
    return home


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Callable[[str], Target]:
    """What to serve, by the name of its table of cases."""

    def find(service: str) -> Target:
        bentofile = ROOT / "bentos" / service / "bentofile.yaml"
        if bentofile.exists():
            home = str(request.getfixturevalue("trained"))
            name = yaml.safe_load(bentofile.read_text())["service"]
            return servers.Target(name=name, folder=ROOT, env={"BENTOML_HOME": home})
        name = "".join(map(str.title, service.split("_")))
        return servers.Target(name=f"{service}:{name}", folder=HERE / "zoo")

    return find


@pytest.fixture(scope="session")
def pairs(target: Callable[[str], Target], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Pair]]:
    """Both servers with a service, which run until another service is asked for."""
    running: list[Pair] = []
    with ExitStack() as everything, ExitStack() as current:

        def switch(service: str) -> Pair:
            if not running or running[-1].service != service:
                current.close()  # tells them to go; the next may start meanwhile
                folder = tmp_path_factory.mktemp(service) / "pair"
                running.append(current.enter_context(servers.serving(target(service), service, folder)))
                everything.callback(running[-1].gone)
            return running[-1]

        yield switch


@pytest.fixture
def start() -> Callable[..., Server]:
    """Start a server of hooks_zoo, or of something else, with an environment; whoever starts it stops it."""

    def begin(kind: str, folder: Path, env: dict[str, str], target: str = "hooks_zoo:HooksZoo") -> Server:
        code = HERE / "zoo" if target.startswith("hooks_zoo:") else None
        return servers.start(kind, servers.Target(name=target, folder=code, env=env), folder)

    return begin


@pytest.fixture
def pair(pairs: Callable[[str], Pair], service: str) -> Pair:
    return pairs(service)


# The report


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--conformance-report",
        metavar="FILE",
        help="where the table goes: a page with that section, or a file",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Report(config))


class Report:
    """Counts how the cases of each service went; by reports, which pytest-xdist hands to its controller too."""

    def __init__(self, config: pytest.Config) -> None:
        self.path: str | None = config.getoption("--conformance-report", default=None)
        self.rows: dict[str, Counter[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, service in report.user_properties:
            if name == "conformance" and report.when == "call":
                kind = "differs" if report.failed else dict(report.user_properties).get("compared", "equal")
                self.rows.setdefault(str(service), Counter())[str(kind)] += 1

    def pytest_terminal_summary(self) -> None:
        if self.path and not page.write("conformance", self.table(), Path(self.path)):
            Path(self.path).write_text(self.table())

    def table(self) -> str:
        """One row per service, and a last one with the sums."""
        lines = [
            "| service | cases | equal | equal but for an extra header | deliberate differences |",
            "|---|---:|---:|---:|---:|",
        ]
        total = sum(self.rows.values(), Counter())
        for name, count in [*((f"`{name}`", count) for name, count in sorted(self.rows.items())), ("together", total)]:
            cells = [name, count.total(), count["equal"], count["extra"], count["deliberate"]]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
        if total["differs"]:
            lines.append(f"\n**{total['differs']} cases failed.**")
        reasons = {entry["why"]: None for entry in [*DIFFERENCES.values(), *EXTRA_HEADERS.values()]}
        lines += ["", *(f"- {why}" for why in reasons), ""]
        return "\n".join(lines)
