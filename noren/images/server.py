"""What the server needs beside the Bento's own packages, in the versions that it was tested with."""

from collections.abc import Collection
from importlib.metadata import requires, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def pins(locked: Collection[str]) -> list[str]:
    """ "name==version" of all that noren-serve needs and the Bento has not locked, as installed here.

    locked  normalised names of the Bento's packages; their versions are the Bento's business
    """
    wanted, seen = ["noren-serve"], set(locked)
    found: dict[str, str] = {}
    while wanted:
        name = wanted.pop()
        needed = [Requirement(line) for line in requires(name) or []]
        names = [
            canonicalize_name(one.name) for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})
        ]
        wanted += (fresh := [each for each in names if each not in seen])
        seen.update(fresh)
        found |= {each: version(each) for each in fresh}
    return [f"{name}=={found[name]}" for name in sorted(found)]
