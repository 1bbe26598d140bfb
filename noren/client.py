"""The REST API as Python. The command line goes through it, so there is one writer."""

import re
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from noren.api import PREFIX
from noren.api.schemas import AppliedView, DeploymentView, EventView, RevisionView, StatusView, VerdictView
from noren.domain.errors import Conflict, DriverError, DriverUnavailable, NorenError, NotFound, SpecError
from noren.manifests.deployment_file import Request

_ERRORS = {kind.__name__: kind for kind in (SpecError, NotFound, Conflict, DriverUnavailable, DriverError)}
View = TypeVar("View")


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

    def require_home(self, home: Path) -> bool:
        """Whether the control plane of `home` answers. Raises DriverError when it is another home's that does."""
        theirs = self.home()
        if theirs and theirs != str(home):
            raise DriverError(
                f"{self.url} is the control plane of {theirs}, not of {home}",
                fix=f"stop it with `NOREN_HOME={theirs} noren down`, or speak to it with NOREN_HOME={theirs}; "
                "NOREN_PORT, NOREN_FRONT_DOOR_PORT and NOREN_ADMIN_PORT let both run",
            )
        return bool(theirs)

    def status(self) -> StatusView:
        """Everything at once."""
        return self._ask(StatusView, "GET", "/status")

    def deployment(self, name: str) -> DeploymentView:
        """One deployment."""
        return self._ask(DeploymentView, "GET", _place(name))

    def apply(self, request: Request) -> AppliedView:
        """Declare a deployment."""
        return self._ask(AppliedView, "PUT", _place(request.spec.name), request.model_dump(mode="json"))

    def command(self, verb: str, name: str, **arguments: Any) -> DeploymentView:
        """promote, abort, pause, resume or rollback."""
        return self._ask(DeploymentView, "POST", f"{_place(name)}/{verb}", arguments or None)

    def delete(self, name: str) -> DeploymentView:
        """Take a deployment down."""
        return self._ask(DeploymentView, "DELETE", _place(name))

    def revisions(self, name: str) -> list[RevisionView]:
        """Every revision, oldest first."""
        return self._ask(list[RevisionView], "GET", f"{_place(name)}/revisions")

    def verdicts(self, name: str) -> list[VerdictView]:
        """Every verdict, oldest first."""
        return self._ask(list[VerdictView], "GET", f"{_place(name)}/verdicts")

    def events(self, name: str, *, after: int = 0) -> list[EventView]:
        """What happened after the event of that id, oldest first."""
        return self._ask(list[EventView], "GET", f"{_place(name)}/events?after={after}")

    def logs(self, name: str, number: int, *, lines: int) -> list[str]:
        """The last lines of every replica of a revision."""
        return self._ask(list[str], "GET", f"{_place(name)}/revisions/{number}/logs?lines={lines}")

    def _ask(self, view: type[View], method: str, path: str, body: object = None) -> View:
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
        if not answer.is_success:
            raise _error(answer)
        try:
            return TypeAdapter(view).validate_json(answer.content)
        except ValidationError as error:
            raise _stranger(answer) from error


def _place(name: str) -> str:
    """The address of a deployment; a name with a slash in it would be that of something else."""
    if not re.fullmatch(r"[a-z0-9-]+", name):
        raise NotFound(f"no deployment named {name!r}", fix="`noren status` lists them")
    return f"/deployments/{name}"


def _error(answer: httpx.Response) -> NorenError:
    try:
        problem = answer.json()
        return _ERRORS.get(problem["title"], DriverError)(problem["detail"], fix=problem["fix"])
    except (ValueError, KeyError, TypeError):
        return _stranger(answer)


def _stranger(answer: httpx.Response) -> DriverError:
    return DriverError(
        f"{answer.request.url} answered {answer.status_code}: {answer.text[:200]}",
        fix="is something else listening on that port, or another version of Noren? `noren up` says so",
    )
