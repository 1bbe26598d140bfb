"""The build context of an image: a folder with just what the Containerfile copies.

Models are linked, not copied, where that can be: they are large. All else is copied without its time, which
engines take for a change. What a Bento brings is not trusted: a link that leaves its folder would put files of
this machine into the image.
"""

import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from uv import find_uv_bin

from noren import server_wheel
from noren.domain.errors import DriverError, SpecError
from noren.images.bento import Bento, Model
from noren.images.order import PLATFORMS, Models, Order

_TIME = 315532800  # 1980-01-01: the same files make the same layers


def lay_out(context: Path, bento: Bento, order: Order, *, model_store: Path) -> None:
    """Make the context of the Bento's image, all but its Containerfile, in an empty folder.

    Raises SpecError when a file of the Bento is not where it says, DriverError when a model is not there.
    """
    _require_own(bento)
    context.chmod(0o755)
    _tools(context / "tools", order.platform)
    _install(context / "install", bento)
    for script in sorted((bento.folder / "env" / "docker").glob("script__*")):
        _tree(script, context / "scripts" / script.name)
    _tree(bento.folder / "src", context / "src")
    for name in ("bento.yaml", "README.md", "apis"):
        _tree(bento.folder / name, context / "bento" / name)
    for name in ("models", "hf-models"):
        _folder(context / "weights" / name)
    for model in bento.models:
        _model(model, context / "weights", model_store if order.models is Models.INSIDE else None)


def _require_own(bento: Bento) -> None:
    """Refuse a Bento whose parts are links out of it; what is inside of them is checked when it is taken."""
    parts = [bento.folder / name for name in ("src", "apis", "README.md", "bento.yaml")]
    parts += [bento.requirements, bento.requirements.parent / "wheels"]
    for part in [*parts, *(bento.folder / "env" / "docker").glob("script__*")]:
        if not _inside(part, bento.folder):
            raise SpecError(
                f"{part} is a link out of its folder: the image would hold a file of this machine",
                fix="put the file itself there, and build the Bento again",
            )


def _install(folder: Path, bento: Bento) -> None:
    """What the installation of packages reads, laid out as in the Bento: the lock may name ./wheels of the source."""
    _file(bento.requirements, folder / "env" / "python" / "requirements.txt")
    _folder(folder / "wheels")
    _plainly(server_wheel.pack(folder / "wheels"))
    _tree(bento.requirements.parent / "wheels", folder / "wheels")
    _folder(folder / "src")
    source = (bento.folder / "src").resolve()
    for name in bento.build_include:
        # Its name is that of the copy, too: it must not lead out of the context, whatever it comes back to.
        if Path(name).is_absolute() or ".." in Path(name).parts or not _inside(source / name, source):
            raise SpecError(f"the Bento includes {name!r}, outside of its source", fix="correct `build_include`")
        _tree(source / name, folder / "src" / name)


def _tools(folder: Path, wanted: str | None) -> None:
    """uv for the platform of the image, in a stage that is thrown away: the base image need not have pip."""
    here = "linux/arm64" if platform.machine() in ("arm64", "aarch64") else "linux/amd64"
    if sys.platform == "linux" and wanted in (None, here):
        _file(Path(find_uv_bin()), folder / "uv", linked=True)
        return
    with tempfile.TemporaryDirectory() as scratch:
        argv = [find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target", scratch]
        argv += ["--python-platform", PLATFORMS[wanted or here], f"uv=={version('uv')}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DriverError(f"there is no uv for {wanted or here}: {done.stderr.strip()}", fix="is PyPI reachable?")
        _file(Path(scratch, "bin", "uv"), folder / "uv")


def _model(model: Model, weights: Path, store: Path | None) -> None:
    """A model, or without a store the place where it is mounted."""
    if model.registry == "huggingface":
        return _hugging_face(model, weights / "hf-models") if store else None
    target = weights / "models" / model.name / model.version
    _folder(target)
    # A service may ask for the latest, which means this one here; BentoML would write it down itself, but cannot.
    _write(target.with_name("latest"), model.version)
    if store is None:
        return None
    folder = store / model.name / model.version
    if not folder.is_dir():
        raise DriverError(
            f"model {model.tag} is not in the BentoML store {store.parent}",
            fix="bring it there (`bentoml models pull` or `import`), or build with --models mount",
        )
    return _tree(folder, target, linked=True)


def _hugging_face(model: Model, target: Path) -> None:
    try:
        from bentoml.models import HuggingFaceModel

        known = {key: model.metadata.get(key) for key in ("revision", "endpoint", "include", "exclude")}
        HuggingFaceModel(model.metadata["model_id"], **known).resolve(target)
    except Exception as error:
        raise DriverError(
            f"model {model.tag} cannot be fetched from the hub: {error}",
            fix="pip install huggingface-hub and check the network, or build with --models mount",
        ) from error


def _tree(source: Path, target: Path, *, linked: bool = False) -> None:
    """Take a file or a folder into the context, without bytecode: that of the image is made inside."""
    if not source.exists():
        return None
    if not source.is_dir():
        return _file(source, target, linked=linked) if source.is_file() else None  # no pipes, no sockets
    _folder(target)
    for folder, names, files in os.walk(source):
        names[:] = sorted(name for name in names if name != "__pycache__")
        here = target / Path(folder).relative_to(source)
        for name in [*names, *sorted(files)]:
            path = Path(folder, name)
            if path.is_symlink():
                _link(path, here / name, source)
            elif path.is_dir():
                _folder(here / name)
            elif path.is_file():  # no pipes, no sockets
                _file(path, here / name, linked=linked)
    return None


def _link(path: Path, target: Path, root: Path) -> None:
    to = path.readlink()
    if to.is_absolute() or not _inside(path, root):
        raise SpecError(
            f"{path} is a link out of its folder: the image would hold a file of this machine, or nothing",
            fix="put the file itself there, and build the Bento again",
        )
    target.symlink_to(to)


def _inside(path: Path, root: Path) -> bool:
    """Whether it leads to a place in `root`. Links that lead to each other lead nowhere."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):  # a null byte; such a circle, but not since Python 3.13
        return False


def _file(path: Path, target: Path, *, linked: bool = False) -> None:
    """Readable for everyone, as the service does not run as the owner."""
    _folder(target.parent)
    mode = stat.S_IMODE(path.stat().st_mode)
    wanted = 0o755 if mode & 0o100 else 0o644
    if linked and mode == wanted:
        try:
            return target.hardlink_to(path.resolve())
        except OSError:  # another file system
            pass
    shutil.copyfile(path, target)
    target.chmod(wanted)
    return os.utime(target, (path.stat().st_mtime if linked else _TIME,) * 2)


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    _plainly(path)


def _plainly(path: Path) -> None:
    path.chmod(0o644)
    os.utime(path, (_TIME, _TIME))


def _folder(path: Path) -> None:
    if not path.is_dir():
        _folder(path.parent)
        path.mkdir()
        path.chmod(0o755)  # whatever the umask
