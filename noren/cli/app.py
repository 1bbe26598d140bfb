"""All verbs in the order in which they are met."""

from typing import Annotated

import typer

from noren import __version__
from noren.cli import (
    apply,
    build,
    commands,
    down,
    gate,
    logs,
    new,
    revisions,
    schema,
    status,
    train,
    up,
    verdict,
    watch,
)

app = typer.Typer(
    help="From training to a promoted, load-tested Bento.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"noren {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="and exit")] = False,
) -> None:
    """From training to a promoted, load-tested Bento."""


def _add(*verbs: tuple[str, object], panel: str) -> None:
    for name, verb in verbs:
        app.command(name, rich_help_panel=panel)(verb)  # type: ignore[type-var]


_add(("up", up.up), ("down", down.down), panel="This machine")
_add(("new", new.new), panel="From model to guests")
# A training script has options of its own: what we do not know is passed on.
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": ["--help"]}
app.command("train", rich_help_panel="From model to guests", context_settings=_PASSED_ON)(train.train)
_add(("build", build.build), ("apply", apply.apply), panel="From model to guests")
_add(("schema", schema.schema), panel="From model to guests")
_add(("status", status.status), ("watch", watch.watch), ("verdict", verdict.verdict), panel="Look")
_add(("logs", logs.logs), ("revisions", revisions.revisions), panel="Look")
_add(("promote", commands.promote), ("abort", commands.abort), ("rollback", commands.rollback), panel="Steer")
_add(("pause", commands.pause), ("resume", commands.resume), ("delete", commands.delete), panel="Steer")
app.add_typer(gate.app, name="gate", rich_help_panel="Anywhere")
