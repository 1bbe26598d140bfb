"""One virtual environment for each framework, made by uv in the cache folder. Made once; interrupted, made again."""

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.serve.scorers import CACHE

ROOT = Path(__file__).resolve().parents[2]


def _here(*packages: str) -> list[str]:
    """The versions of this project's own environment: pickled models and comparisons need the same ones."""
    return [f"{package}=={version(package)}" for package in packages]


MODELS = _here("scikit-learn", "numpy", "joblib")
FAST_ASGI = _here("uvloop", "httptools")

ENVIRONMENTS: dict[str, list[str]] = {
    "noren": [*MODELS, *FAST_ASGI, *_here("bentoml", "pillow"), "-e", str(ROOT / "noren-serve")],
    "asgi": [*MODELS, *FAST_ASGI, *_here("uvicorn", "fastapi", "pydantic", "python-multipart", "pillow")],
    "bentoml": [*MODELS, *_here("bentoml", "pillow")],
    "bentoml-fast": [*MODELS, *FAST_ASGI, *_here("bentoml", "pillow")],
    "litserve": [*MODELS, "litserve==0.2.19"],
    "ray": [*MODELS, "ray[serve]==2.60.0"],
    "mlserver": [*MODELS, "mlserver==1.7.1"],
    "mlflow": [*MODELS, *_here("mlflow")],
    "py-spy": ["py-spy"],
}


class InstallError(Exception):
    """An environment could not be made; the text is the reason."""


def python(name: str) -> Path:
    """The interpreter of an environment, which is made when it is missing. Raises InstallError."""
    folder = CACHE / "envs" / name
    marker, wanted = folder / "installed.txt", "\n".join([sys.version, *ENVIRONMENTS[name]])
    interpreter = folder / "bin" / "python"
    if not marker.exists() or marker.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _uv("venv", "--python", sys.executable, str(folder))
        _uv("pip", "install", "--compile-bytecode", "--python", str(interpreter), *ENVIRONMENTS[name])
        marker.write_text(wanted)
    return interpreter


def _uv(*arguments: str) -> None:
    argv = [sys.executable, "-m", "uv", *arguments, "--quiet"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise InstallError(" ".join(done.stderr.split())[:300])
