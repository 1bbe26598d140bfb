"""make bench-images: size of each service's image, what is in it, and seconds to make one again after a training.

Needs podman, and a base image that scripts/container-base can make (root, debootstrap). Where these are not, it says
so and ends with 77.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks import shop
from benchmarks.rows import Row, publish

ROOT = Path(__file__).resolve().parents[1]
BASE = "localhost/noren-base:3.11"
TRAININGS = 3
TAG = "localhost/noren-bench:latest"
ONLY_TRAINING = {"dvc", "locust", "matplotlib", "mlflow", "pandas", "scikit-learn", "scipy", "statsmodels"}
PACKAGES = "from importlib.metadata import distributions; print(*(found.name.lower() for found in distributions()))"


def main() -> int:
    """Measure and publish."""
    based = subprocess.run([ROOT / "scripts" / "container-base"], capture_output=True, text=True, check=False)
    if based.returncode:
        print(based.stderr.strip() or "the base image cannot be made")
        return based.returncode
    settings = dict(line.removeprefix("export ").split("=", 1) for line in based.stdout.splitlines())
    with tempfile.TemporaryDirectory(prefix="noren-bench-") as folder:
        env = {**os.environ, **settings, "NOREN_HOME": folder, "BENTOML_HOME": f"{folder}/bentoml"}
        first = _train_and_build(env, c="4.0")
        again = [_train_and_build(env, c=str(4.5 + turn)) for turn in range(TRAININGS)]
        rows = [
            Row(name="size of the sentiment image, base included", value=_megabytes(env), unit="MB", goal="<= 500"),
            Row(name="seconds to build Bento and image, packages cached", value=round(first, 1), unit="s"),
            Row(name="... again after a training", value=round(median(again), 1), unit="s", goal="<= 15"),
            Row(name="... the slowest of them", value=round(max(again), 1), unit="s"),
        ]
        shop.train(list(shop.SHOP))
        rows += [row for name in shop.SHOP for row in _image({**env, "BENTOML_HOME": str(shop.HOME)}, name)]
    publish("images", rows, command="make bench-images")
    return 0


def _image(env: dict[str, str], name: str) -> list[Row]:
    """Build it, and look inside."""
    _build(env, name)
    inside = set(_run(["podman", "run", "--rm", "--entrypoint", "python", TAG, "-c", PACKAGES], env).split())
    return [
        Row(name=f"size of the {name} image", value=_megabytes(env), unit="MB", goal="<= 500"),
        Row(name="... packages that only training needs", value=len(inside & ONLY_TRAINING), unit="", goal="= 0"),
    ]


def _train_and_build(env: dict[str, str], *, c: str) -> float:
    """Seconds that `noren build sentiment --image` takes after a training, which is not counted."""
    _run([sys.executable, "-m", "training.sentiment", "--C", c, "--max-features", "20000"], env)
    began = time.monotonic()
    _build(env, "sentiment")
    return time.monotonic() - began


def _build(env: dict[str, str], name: str) -> None:
    image = ["--image", "--base", BASE, "--engine", "podman", "--tag", TAG]
    _run([sys.executable, "-m", "noren", "build", name, *image], env)


def _megabytes(env: dict[str, str]) -> float:
    argv = ["podman", "image", "inspect", "--format", "{{.Size}}", TAG]
    return round(int(_run(argv, env)) / 1e6, 1)


def _run(argv: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(argv)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
