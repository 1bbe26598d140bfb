"""noren down: stop everything of this home."""

from typing import Annotated

import typer

from noren import settings
from noren.cli.console import AsJson, out, print_json
from noren.shutdown import stop_everything


def down(
    grace: Annotated[float, typer.Option(min=0, help="seconds that open requests, and then processes, may take")] = 20,
    as_json: AsJson = False,
) -> None:
    """Stop the control plane, the front door (drained) and every replica. `noren up` brings all back.

    No new guest is let in, and those who wait get their answers; `kill` of the control plane alone leaves all serving.
    """
    count = stop_everything(settings.load(), grace_s=grace)
    if as_json:
        return print_json({"stopped": count})
    out.print(f"down: {count} processes and containers ended" if count else "nothing was running")
    return None
