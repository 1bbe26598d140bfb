"""Who asks for something, and why, as the request says. An authenticated name can take the place of the claimed one."""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Header, Query

from noren.api import USER_HEADER
from noren.control.audit import ANYONE, Asker

_LONGEST_NAME = 100


def _asker(
    reason: Annotated[str, Query(max_length=1000, description="why; kept in the history")] = "",
    claimed: Annotated[
        str, Header(alias=USER_HEADER, max_length=300, description="who asks, percent-encoded; nobody checks it")
    ] = "",
) -> Asker:
    return Asker(who=_plain(unquote(claimed))[:_LONGEST_NAME] or ANYONE, reason=_plain(reason), claimed=True)


def _plain(text: str) -> str:
    """On one line, and without what a terminal or a database would take for something else."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


By = Annotated[Asker, Depends(_asker)]
