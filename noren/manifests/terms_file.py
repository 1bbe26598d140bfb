"""What a gate holds a service against: `--slo FILE` of `noren gate`."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from noren.domain import deployment as domain
from noren.domain.errors import SpecError
from noren.manifests.deployment_file import DeploymentFile, LoadGate, Part, Slo, explain
from noren.manifests.document import parse


class Terms(Part):
    """Limits, and how much worse than the baseline a candidate may be."""

    slo: Slo = Field(default_factory=Slo)
    load: LoadGate = Field(default_factory=LoadGate)

    def limits(self) -> domain.Slo:
        """The absolute limits."""
        return domain.Slo(**self.slo.model_dump())

    def gate(self) -> domain.LoadGate:
        """How to measure and what to compare. Which Locust file is said elsewhere."""
        return self.load.as_domain()


def read(path: Path | None, said: Mapping[str, object]) -> Terms:
    """The file's terms, or the defaults; `said` on the command line goes before. Raises SpecError.

    A deployment file will do: its `slo` and `gates.load` are taken.
    """
    terms = _read(path) if path else Terms()
    try:
        load = LoadGate.model_validate(terms.load.model_dump(exclude_unset=True) | dict(said))
    except ValidationError as error:
        one = error.errors()[0]
        message = one["msg"].removeprefix("Value error, ")
        raise SpecError(f"--{one['loc'][0]}: {message}", fix="`noren gate --help` describes every option") from error
    return terms.model_copy(update={"load": load})


def _read(path: Path) -> Terms:
    node, document = parse(path)
    try:
        if isinstance(document, dict) and "bento" in document:
            deployment = DeploymentFile.model_validate(document)
            return Terms(slo=deployment.slo, load=deployment.gates.load or LoadGate())
        return Terms.model_validate(document or {})
    except ValidationError as error:
        raise explain(path, node, error) from error
