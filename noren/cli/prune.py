"""noren prune: remove what old revisions left."""

from typing import Annotated

import typer

from noren.cli.commands import Reason
from noren.cli.console import AsJson, client, out, print_json


def prune(
    bentos: Annotated[
        bool, typer.Option("--bentos", help="also Bentos of the BentoML store that only old revisions used")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show it and remove nothing")] = False,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Remove logs, evidence and environments of old revisions now; Noren itself does so once in a while.

    What is live, queued, on its way, or gone back to by `noren rollback`, is never touched. The settings
    retain_revisions and retain_days say what is old. Bentos may be used by other homes, so they go only when asked for.
    """
    removed = client().prune(bentos=bentos, dry_run=dry_run, reason=reason)
    if as_json:
        return print_json(removed)
    for one in removed:
        out.print(f"{one.kind:12} {one.size_bytes / 1e6:9.1f} MB  {one.name}", markup=False, soft_wrap=True)
    total = sum(one.size_bytes for one in removed) / 1e6
    done = "would be removed" if dry_run else "removed"
    out.print(f"{done}: {len(removed)}, {total:.1f} MB" if removed else "there is nothing to remove")
    return None
