"""noren down: stop everything of this home."""

from noren import settings
from noren.cli.console import AsJson, out, print_json


def down(as_json: AsJson = False) -> None:
    """Stop the control plane, the front door (drained) and every replica. `noren up` brings all back."""
    from noren.bootstrap import stop_everything  # half a second of imports that no other verb needs

    count = stop_everything(settings.load())
    if as_json:
        return print_json({"stopped": count})
    out.print(f"down: {count} processes and containers ended" if count else "nothing was running")
    return None
