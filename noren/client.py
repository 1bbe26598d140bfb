"""The REST API as Python. The command line goes through it, so there is one writer."""

import os
import pwd
import re
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from noren.api import PREFIX, USER_HEADER
from noren.api.schemas import (
    AppliedView,
    DeploymentView,
    EventView,
    LeftoverView,
    RevisionView,
    StatusView,
    VerdictView,
)
from noren.domain.errors import Conflict, DriverError, DriverUnavailable, NorenError, NotFound, SpecError
from noren.manifests.deployment_file import Request

_ERRORS = {kind.__name__: kind for kind in (SpecError, NotFound, Conflict, DriverUnavailable, DriverError)}
_PRUNED_WITHIN_S = 600.0  # environments have many files
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
            return str(self._http.get(f"{self.url}/livez", timeout=2.0).json()["home"])
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

    def apply(self, request: Request, *, reason: str = "", emergency: bool = False) -> AppliedView:
        """Declare a deployment."""
        asked, body = _asked(reason=reason, emergency=emergency), request.model_dump(mode="json")
        return self._ask(AppliedView, "PUT", _place(request.spec.name), body, asked)

    def command(
        self, verb: str, name: str, *, reason: str = "", emergency: bool = False, **arguments: Any
    ) -> DeploymentView:
        """promote, abort, pause, resume or rollback."""
        asked = _asked(reason=reason, emergency=emergency)
        return self._ask(DeploymentView, "POST", f"{_place(name)}/{verb}", arguments or None, asked)

    def delete(self, name: str, *, reason: str = "") -> DeploymentView:
        """Take a deployment down."""
        return self._ask(DeploymentView, "DELETE", _place(name), None, _asked(reason=reason))

    def revisions(self, name: str) -> list[RevisionView]:
        """Every revision, oldest first."""
        return self._ask(list[RevisionView], "GET", f"{_place(name)}/revisions")

    def verdicts(self, name: str) -> list[VerdictView]:
        """Every verdict, oldest first."""
        return self._ask(list[VerdictView], "GET", f"{_place(name)}/verdicts")

    def events(self, name: str, *, after: int = 0) -> list[EventView]:
        """What happened after the event of that id, oldest first."""
        return self._ask(list[EventView], "GET", f"{_place(name)}/events?after={after}")

    def history(self, name: str | None = None, *, since: datetime | None = None, limit: int = 100) -> list[EventView]:
        """The newest lines of all that happened, or of what happened to one deployment, oldest first."""
        asked = _asked(name=name, since=since.isoformat() if since else None, limit=limit)
        return self._ask(list[EventView], "GET", "/history", None, asked)

    def prune(self, *, bentos: bool = False, dry_run: bool = False, reason: str = "") -> list[LeftoverView]:
        """Remove what old revisions left and nobody needs; what was removed."""
        asked = _asked(bentos=bentos, dry_run=dry_run, reason=reason)
        return self._ask(list[LeftoverView], "POST", "/prune", None, asked, timeout_s=_PRUNED_WITHIN_S)

    def logs(self, name: str, number: int, *, lines: int) -> list[str]:
        """The last lines of every replica of a revision."""
        return self._ask(list[str], "GET", f"{_place(name)}/revisions/{number}/logs?lines={lines}")

    def _ask(
        self,
        view: type[View],
        method: str,
        path: str,
        body: object = None,
        asked: dict[str, str] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> View:
        by, within = {USER_HEADER: quote(os_user())}, timeout_s or self._http.timeout
        try:
            answer = self._http.request(method, path, json=body, params=asked or None, headers=by, timeout=within)
        except httpx.ConnectError as error:
            raise DriverUnavailable(
                f"no control plane answers at {self.url}", fix="start it with `noren up`"
            ) from error
        except httpx.HTTPError as error:
            raise DriverUnavailable(
                f"the control plane at {self.url} did not answer: {error}", fix="try again; see `noren logs --server`"
            ) from error
        except httpx.InvalidURL as error:
            raise SpecError(f"that cannot be asked: {error}", fix="say it in fewer words") from error
        if not answer.is_success:
            raise _error(answer)
        try:
            return TypeAdapter(view).validate_json(answer.content)
        except ValidationError as error:
            raise _stranger(answer) from error


def os_user() -> str:
    """Who runs this program, as the operating system knows them."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may have users without a name
        return str(os.getuid())


def _asked(**what: object) -> dict[str, str]:
    """What comes after the question mark: nothing of what was not said."""
    return {name: "true" if value is True else _utf8(str(value)) for name, value in what.items() if value}


def _utf8(text: str) -> str:
    """Bytes on the command line that are no UTF-8 have come as what nothing can encode."""
    return text.encode(errors="replace").decode()


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
