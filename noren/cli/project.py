"""The user's project, in the current folder: its training scripts and Bentos are run as its own code."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from noren.domain.errors import SpecError
from noren.settings import Settings


def environment(settings: Settings) -> dict[str, str]:
    """What training and building see: our BentoML store, MLflow in SQLite unless it is set."""
    tracking = f"sqlite:///{settings.home / 'mlflow' / 'mlflow.db'}"
    ours = {"BENTOML_HOME": str(settings.bentoml_home), "BENTOML_DO_NOT_TRACK": "True"}
    return {"MLFLOW_TRACKING_URI": tracking, **os.environ, **ours}


def run(argv: Sequence[str], settings: Settings, *, folder: Path | None = None, quiet: bool = False) -> tuple[int, str]:
    """Run a command in `folder`, the current one by default, its output shown as it comes unless `quiet`.

    Returns its exit code and what it wrote to standard output.
    """
    process = subprocess.Popen(list(argv), env=environment(settings), cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if not quiet:
                print(line, end="", flush=True)  # noqa: T201  its words, not ours
        return process.wait(), "".join(lines)
    except KeyboardInterrupt:
        process.wait()  # Ctrl-C reached it too: let it clean up
        raise


def module(kind: str, name: str) -> str:
    """The module `<kind>.<name>` of the project. Raises SpecError, naming what there is."""
    folder = Path(kind)
    # Helpers of the scripts lie beside them.
    known = sorted(p.stem for p in folder.glob("[a-z]*.py") if "__main__" in p.read_text(errors="replace"))
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", name) or not (folder / f"{name}.py").is_file():
        raise SpecError(
            f"there is no {folder / name}.py here (known: {', '.join(known) or 'none'})",
            fix="run this in the project's root, and name one of its scripts",
        )
    return f"{kind}.{name}"
