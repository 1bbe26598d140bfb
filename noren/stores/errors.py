"""What every store says of a name it does not know, of what it cannot read, and of a write that comes too late."""

from noren.domain.errors import DriverError, NotFound, Stale


def unknown(name: str) -> NotFound:
    """There is no such deployment."""
    return NotFound(f"no deployment named {name!r}", fix="`noren status` lists them; `noren apply` makes one")


def unreadable(name: str, why: str) -> DriverError:
    """What is stored of it is not what this Noren stores."""
    return DriverError(
        f"what is stored of {name} cannot be read: {why}",
        fix="use the version of Noren that wrote it; until then it is served as it is, and nothing of it moves",
    )


def stale(name: str) -> Stale:
    """Someone else was faster."""
    return Stale(f"{name} was changed by someone else in the meantime", fix="look again and repeat the command")


def superseded(name: str) -> Stale:
    """Another control plane leads by now."""
    return Stale(f"{name} is another control plane's to change: it leads by now", fix="nothing to do: it goes on")
