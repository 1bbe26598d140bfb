"""noren train: run a training script of the project."""

import sys

import typer

from noren import settings
from noren.cli.project import module, run


def train(
    context: typer.Context,
    name: str = typer.Argument(help="the script training/<name>.py of the project"),
) -> None:
    """Run `python -m training.<name>` with this home's model store and MLflow. Its own options follow the name."""
    chosen = settings.load()
    (settings.writable_home(chosen.home) / "mlflow").mkdir(exist_ok=True)
    code, _ = run([sys.executable, "-m", module("training", name), *context.args], chosen)
    raise typer.Exit(code)
