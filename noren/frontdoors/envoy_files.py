import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from noren.control.ports import Table
from noren.domain.deployment import Route
from noren.frontdoors import envoy_config as config
from noren.frontdoors import fence
from noren.frontdoors.envoy_routes import routes
from noren.machine import write_whole

_BOOT = Path("/proc/sys/kernel/random/boot_id")  # where Linux says which of the machine's lives this is


class EnvoyFiles:
    """The files that Envoy watches, and the tables they are made of.

    The tables are kept too, so that a new control plane can publish one deployment without losing the others.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written: dict[str, str] = {}
        self._tables: dict[str, Table] | None = None
        self._clusters: dict[str, config.Json] | None = None  # those in cds.json
        self._epoch: int | None = None  # by which we wrote last
        self._whole = False  # whether all files were written since, and so belong together

    @property
    def epoch(self) -> int:
        """The highest by which anybody ever wrote them."""
        return fence.highest_epoch(self.folder)

    @contextmanager
    def written_by(self, epoch: int) -> Iterator[None]:
        """Have the files for oneself while they are written. Raises DriverUnavailable when another epoch leads."""
        with fence.held(self.folder, epoch):
            if epoch != self._epoch:  # who led in between has written what we do not know of, or half of it
                self.forget()
                self._epoch = epoch
            yield

    def forget(self) -> None:
        """Read the files anew next time, and write them anew too."""
        self._tables, self._clusters, self._epoch, self._whole = None, None, None, False
        self._written.clear()

    @property
    def tables(self) -> dict[str, Table]:
        """By deployment."""
        if self._tables is None:
            self._tables = {name: _table(name, row) for name, row in self._read("tables.json").items()}
        return self._tables

    @property
    def tables_now(self) -> dict[str, Table]:
        """The same without the backends of before a reboot: whoever has their ports by now is none of ours."""
        if self._read("boot.json").get("id", _boot()) == _boot():
            return self.tables
        gone: tuple[str, ...] = ()
        return {name: replace(t, backends=dict.fromkeys(t.backends, gone)) for name, t in self.tables.items()}

    def holds(self, table: Table, epoch: int) -> bool:
        """Whether we put this very table last, whole; a list of addresses equals a tuple of them."""
        if epoch != self._epoch or not self._whole:
            return False
        last = self.tables.get(table.deployment)
        return last is not None and _row(last) == _row(table)

    def write_static(self, name: str, lds: str, bootstrap: config.Json, listeners: config.Json) -> Path:
        """Write what does not depend on tables, by these names; returns the path of the bootstrap.

        Those of Envoys before go: each reads them at its start only.
        """
        for old in (*self.folder.glob("lds-*.json"), *self.folder.glob("bootstrap-*.json")):
            if old.name not in (name, lds):
                old.unlink(missing_ok=True)
        self._write(lds, listeners)
        return self._write(name, bootstrap)

    def write_check(self, content: config.Json) -> Path:
        """Write what Envoy is to check; returns its path. No Envoy watches it."""
        return self._write("check.json", content)

    def put(self, tables: dict[str, Table]) -> None:
        """Write the tables and what follows from them.

        Clusters come before the routes that name them, and stay until `sweep`: Envoy reads each file when
        it gets to it, so a removal written right after the routes could be read before them.
        """
        self._tables, self._whole = dict(tables), False
        self._write("tables.json", {name: _row(table) for name, table in sorted(tables.items())})
        self._write_clusters({**self._known_clusters(), **config.clusters(tables.values())})
        self._write("rds.json", routes(tables.values()))
        self._write("boot.json", {"id": _boot()})
        self._whole = True

    def sweep(self, routes_version: str) -> None:
        """Remove the clusters that no route names any more, once the routes we wrote are in force."""
        tables = self.tables.values()
        if self._known_clusters().keys() == config.members(tables).keys():
            return
        if routes_version == routes(tables)["version_info"]:
            self._write_clusters(config.clusters(tables))

    def _known_clusters(self) -> dict[str, config.Json]:
        if self._clusters is None:
            found = self._read("cds.json").get("resources", [])
            self._clusters = {cluster["name"]: cluster for cluster in found}
        return self._clusters

    def _write_clusters(self, clusters: dict[str, config.Json]) -> None:
        self._write("cds.json", config.cluster_resources(clusters))
        self._clusters = clusters

    def _read(self, name: str) -> config.Json:
        path = self.folder / name
        try:
            content: config.Json = json.loads(path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}  # every table is published again at the next tick
        return content

    def _write(self, name: str, content: config.Json) -> Path:
        """Rename into place, and only what differs: Envoy reads on every rename, and never half a file."""
        path = self.folder / name
        text = json.dumps(content, indent=1, sort_keys=True)
        if self._written.get(name) == text and path.exists():
            return path
        write_whole(path, text)
        self._written[name] = text
        return path


def _boot() -> str:
    return _BOOT.read_text().strip() if _BOOT.exists() else ""


def _row(table: Table) -> config.Json:
    return {
        "prefix": table.route.prefix,
        "host": table.route.host,
        "backends": {name: list(addresses) for name, addresses in table.backends.items()},
        "weights": dict(table.weights),
        "green": table.green,
        "blue": table.blue,
    }


def _table(deployment: str, row: config.Json) -> Table:
    return Table(
        deployment=deployment,
        route=Route(prefix=row["prefix"], host=row["host"]),
        backends=row["backends"],
        weights=row["weights"],
        green=row["green"],
        blue=row["blue"],
    )
