"""The REST API as Python. The command line goes through it, so there is one writer."""

from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter

from noren.api import PREFIX
from noren.api.schemas import AppliedView, DeploymentView, EventView, RevisionView, StatusView, VerdictView
from noren.domain.errors import Conflict, DriverError, DriverUnavailable, NorenError, NotFound, SpecError
from noren.manifests.deployment_file import Request

_ERRORS = {kind.__name__: kind for kind in (SpecError, NotFound, Conflict, DriverUnavailable, DriverError)}
View = TypeVar("View", bound=BaseModel)


class Client:
    """Talks to one control plane. Every method raises the NorenError that the control plane answered with.

    url  where the API answers, "http://127.0.0.1:7410"
    """

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url + PREFIX, timeout=timeout_s, trust_env=False)

    def running(self) -> bool:
        """Whether a control plane answers there."""
        return bool(self.home())

    def home(self) -> str:
        """The home folder of the control plane that answers there; "" when it is not one of ours."""
        try:
            return str(httpx.get(f"{self.url}/livez", timeout=2.0, trust_env=False).json()["home"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return ""

    def status(self) -> StatusView:
        """Everything at once."""
        return StatusView.model_validate(self._ask("GET", "/status"))

    def deployment(self, name: str) -> DeploymentView:
        """One deployment."""
        return DeploymentView.model_validate(self._ask("GET", f"/deployments/{name}"))

    def apply(self, request: Request) -> AppliedView:
        """Declare a deployment."""
        body = request.model_dump(mode="json")
        return AppliedView.model_validate(self._ask("PUT", f"/deployments/{request.spec.name}", body))

    def command(self, verb: str, name: str, **arguments: Any) -> DeploymentView:
        """promote, abort, pause, resume or rollback."""
        answer = self._ask("POST", f"/deployments/{name}/{verb}", arguments or None)
        return DeploymentView.model_validate(answer)

    def delete(self, name: str) -> DeploymentView:
        """Take a deployment down."""
        return DeploymentView.model_validate(self._ask("DELETE", f"/deployments/{name}"))

    def revisions(self, name: str) -> list[RevisionView]:
        """Every revision, oldest first."""
        return self._list(RevisionView, f"/deployments/{name}/revisions")

    def verdicts(self, name: str) -> list[VerdictView]:
        """Every verdict, oldest first."""
        return self._list(VerdictView, f"/deployments/{name}/verdicts")

    def events(self, name: str, *, after: int = 0) -> list[EventView]:
        """What happened after the event of that id, oldest first."""
        return self._list(EventView, f"/deployments/{name}/events?after={after}")

    def logs(self, name: str, number: int, *, lines: int) -> list[str]:
        """The last lines of every replica of a revision."""
        answer: list[str] = self._ask("GET", f"/deployments/{name}/revisions/{number}/logs?lines={lines}")
        return answer

    def _list(self, view: type[View], path: str) -> list[View]:
        return TypeAdapter(list[view]).validate_python(self._ask("GET", path))  # type: ignore[valid-type]

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.ConnectError as error:
            raise DriverUnavailable(
                f"no control plane answers at {self.url}", fix="start it with `noren up`"
            ) from error
        except httpx.HTTPError as error:
            raise DriverUnavailable(
                f"the control plane at {self.url} did not answer: {error}", fix="try again; see `noren logs --server`"
            ) from error
        if answer.is_success:
            return answer.json()
        raise _error(answer)


def _error(answer: httpx.Response) -> NorenError:
    try:
        problem = answer.json()
        return _ERRORS.get(problem["title"], DriverError)(problem["detail"], fix=problem["fix"])
    except (ValueError, KeyError, TypeError):
        return DriverError(
            f"{answer.request.url} answered {answer.status_code}: {answer.text[:200]}",
            fix="is something else listening on that port? `noren up` says so",
        )
