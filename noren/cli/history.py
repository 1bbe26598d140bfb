"""noren history: who asked for what and why, and what became of it."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from noren.api.schemas import EventView
from noren.cli.console import AsJson, client, out, print_json
from noren.domain.errors import SpecError

_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_SPACE = " " * 21


def history(
    name: Annotated[
        str | None, typer.Argument(help="one deployment, also a deleted one; all of them by default")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="2d, 3h, 30m, or a time like 2026-01-31T12:00", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="of the newest lines")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show what happened: each command with who gave it and why, and each step of Noren. Nothing of it is ever deleted.

    Who gave a command is what the command line says of its user; nobody checks it.
    """
    after = moment(since, datetime.now(UTC)) if since else None
    lines = client().history(name, since=after, limit=limit)
    if as_json:
        return print_json(lines)
    if not lines:
        out.print("nothing happened since then" if since else "nothing happened yet")
    for line in lines:
        out.print(_words(line), markup=False, soft_wrap=True)
    return None


def moment(text: str, now: datetime) -> datetime:
    """The time that is meant: so long before `now`, or a date (of this machine's zone unless it names one).

    Raises SpecError when it is neither.
    """
    try:
        if match := re.fullmatch(r"(\d{1,9})([smhdw])", text):
            return now - int(match[1]) * _UNITS[match[2]]
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise SpecError(
            f"--since {text!r} is no time that there was", fix="write 90s, 30m, 3h, 2d, 1w or 2026-01-31T12:00"
        ) from error


def _words(line: EventView) -> str:
    """When, who, of what, and what; below it why, and what it changed."""
    said = [
        f"{line.at.astimezone():%Y-%m-%d %H:%M:%S}  {line.who or 'noren':10} {line.deployment or '-':12} "
        f"{line.kind:9} {line.message}"
    ]
    if line.reason:
        said.append(f"{_SPACE}why: {line.reason}")
    if changed := _changes(line):
        said.append(f"{_SPACE}{changed}")
    return "\n".join(said)


def _changes(line: EventView) -> str:
    """What is different after it: "phase held -> gating"."""
    both = {key: (_value(line.before.get(key)), _value(line.after.get(key))) for key in {**line.before, **line.after}}
    return ", ".join(f"{key} {was} -> {now}" for key, (was, now) in both.items() if was != now)


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "/".join(f"{name} {share}" for name, share in value.items()) or "none"
    if isinstance(value, list):
        return "+".join(map(str, value))
    return "none" if value is None else str(value)
