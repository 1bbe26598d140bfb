"""noren frontdoor: the proxy itself."""

import time

import typer

from noren import settings
from noren.cli.console import AsJson, out, print_json
from noren.drivers import front_door
from noren.machine import Machine

app = typer.Typer(help="Look after the proxy that guests come through.", no_args_is_help=True)


@app.command()
def restart(as_json: AsJson = False) -> None:
    """Start a new Envoy in the place of the one that runs. No guest is refused, and those who wait get their answers.

    `noren up` does so by itself where another version of Envoy, or of Noren, is installed by now.
    """
    chosen = settings.load()
    began = time.monotonic()
    front_door(chosen, Machine(chosen.home)).restart()
    seconds = time.monotonic() - began
    if as_json:
        return print_json({"front_door": chosen.front_door_url, "seconds": round(seconds, 2)})
    out.print(f"a new Envoy took over in {seconds:.1f} s; the old one ends what it has begun, and then itself")
    return None
