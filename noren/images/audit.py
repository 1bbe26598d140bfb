"""Known vulnerabilities of a Bento's packages, looked up by pip-audit."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from noren.domain.errors import DriverError
from noren.images import locked
from noren.images.bento import Bento
from noren.images.server import pins

_SERVICES = ("pypi", "osv")  # databases that pip-audit can ask, in the order in which we do
_WAIT_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the database said of the packages that it knows."""

    looked_up: int
    packages: int
    vulnerable: Mapping[str, Sequence[str]]  # "jinja2 3.1.2" -> ids of what is known about it

    def __str__(self) -> str:
        if not self.looked_up:
            return f"no vulnerability database could be reached: none of the {self.packages} packages was looked up"
        unknown = f", {self.packages - self.looked_up} could not be looked up" if self.looked_up < self.packages else ""
        found = "; ".join(f"{name}: {', '.join(ids)}" for name, ids in self.vulnerable.items())
        known = f"{len(self.vulnerable)} of {self.looked_up} packages have known vulnerabilities"
        return known + unknown + (f"\n{found}" if found else "")


def audit(bento: Bento, report: Path) -> Audit:
    """Look up all packages of the Bento's image, and write pip-audit's own report to `report`.

    A database that cannot be reached is not an error, but the result says so, and there is no report then.
    Raises DriverError without pip-audit.
    """
    if find_spec("pip_audit") is None:
        raise DriverError("--audit needs pip-audit, which is not installed", fix="pip install 'noren[images]'")
    text = bento.requirements.read_text()
    ours = pins({package.name for package in locked.packages(text)})
    wanted = [*locked.packages(text), *locked.packages("\n".join(ours))]
    lines = [f"{package.name}=={package.version}" for package in wanted if package.version]
    report.unlink(missing_ok=True)
    for service in _SERVICES:
        said = _ask(service, lines)
        if (read := result(said, packages=len(wanted))).looked_up:
            report.parent.mkdir(parents=True, exist_ok=True)
            report.write_text(said)
            return read
    return Audit(looked_up=0, packages=len(wanted), vulnerable={})


def result(said: str, *, packages: int) -> Audit:
    """Read pip-audit's JSON. What it skipped was not looked up: its own summary counts that as "no vulnerabilities"."""
    try:
        entries: list[dict[str, Any]] = json.loads(said)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Audit(looked_up=0, packages=packages, vulnerable={})
    looked_up = [entry for entry in entries if "skip_reason" not in entry]
    ids = {f"{entry['name']} {entry['version']}": [one["id"] for one in entry["vulns"]] for entry in looked_up}
    return Audit(
        looked_up=len(looked_up), packages=packages, vulnerable={name: found for name, found in ids.items() if found}
    )


def argv(service: str, requirements: Path) -> list[str]:
    """The command that asks one database about pinned packages, without resolving or installing anything."""
    ask = [sys.executable, "-m", "pip_audit", "--vulnerability-service", service, "--requirement", str(requirements)]
    return [*ask, "--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]


def _ask(service: str, lines: Sequence[str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text("\n".join(lines))
        try:
            done = subprocess.run(
                argv(service, requirements), capture_output=True, text=True, timeout=_WAIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return ""
    return done.stdout
