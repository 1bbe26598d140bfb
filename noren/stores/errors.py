"""What every store says of a name it does not know and of a write that comes too late."""

from noren.domain.errors import NotFound, Stale


def unknown(name: str) -> NotFound:
    """There is no such deployment."""
    return NotFound(f"no deployment named {name!r}", fix="`noren status` lists them; `noren apply` makes one")


def stale(name: str) -> Stale:
    """Someone else was faster."""
    return Stale(f"{name} was changed by someone else in the meantime", fix="look again and repeat the command")


def superseded(name: str) -> Stale:
    """Another control plane leads by now."""
    return Stale(f"{name} is another control plane's to change: it leads by now", fix="nothing to do: it goes on")
