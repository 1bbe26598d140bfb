"""The wheel of noren-serve, packed from the one installed here.

Replicas and images run noren-serve in environments of their own. Packing what is installed needs no package
index, and gives them exactly the server that this control plane was tested with.
"""

import base64
import hashlib
import zipfile
from importlib.metadata import requires, version
from importlib.resources import files
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files make the same wheel, byte for byte


def pack(folder: Path) -> Path:
    """Write `noren_serve-<version>-py3-none-any.whl` into `folder`; the same installation gives the same bytes.

    Source: packaging.python.org, "Binary distribution format".
    """
    name = f"noren_serve-{version('noren-serve')}"
    contents = {f"noren_serve/{path}": data for path, data in _sources()}
    info = f"{name}.dist-info"
    contents[f"{info}/METADATA"] = _metadata().encode()
    contents[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: noren\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    contents[f"{info}/entry_points.txt"] = b"[console_scripts]\nnoren-serve = noren_serve.__main__:main\n"
    record = "".join(f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in contents.items())
    contents[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-py3-none-any.whl"
    fresh = wheel.with_suffix(".tmp")
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in contents.items():
            archive.writestr(zipfile.ZipInfo(path, _EPOCH), data)
    fresh.replace(wheel)
    return wheel


def fingerprint() -> str:
    """A short hash of the server's code and requirements, to name what is made from it."""
    parts = [b"".join((path.encode(), b"\0", data)) for path, data in _sources()]
    return hashlib.sha256(b"\0".join([*parts, _metadata().encode()])).hexdigest()[:16]


def _sources() -> list[tuple[str, bytes]]:
    root = files("noren_serve")
    names = sorted(entry.name for entry in root.iterdir() if entry.name.endswith((".py", ".typed")))
    return [(name, root.joinpath(name).read_bytes()) for name in names]


def _metadata() -> str:
    needed = [requirement for requirement in requires("noren-serve") or [] if "extra ==" not in requirement]
    head = ["Metadata-Version: 2.1", "Name: noren-serve", f"Version: {version('noren-serve')}"]
    return "\n".join([*head, "Requires-Python: >=3.11", *(f"Requires-Dist: {line}" for line in needed), ""])


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
