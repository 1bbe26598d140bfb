"""A file of JSON documents, a line each, kept as soon as there is one: what hours of runs have found so far."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from noren.machine import write_whole

Document = dict[str, Any]


class JsonLines:
    """Documents in the order in which they were added. Without a file there are none."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def add(self, document: Document) -> None:
        """Write one at the end, in the place of a line that an interrupt cut off."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab+") as file:
            if file.tell() and not _ends_in_a_line(file):
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
            file.write(json.dumps(document).encode() + b"\n")

    def all(self) -> list[Document]:
        """A line that was cut off does not count."""
        if not self._file.exists():
            return []
        return [json.loads(line) for line in self._file.read_text().split("\n")[:-1]]

    def replace(self, documents: Iterable[Document]) -> None:
        """Write these, and no others: whole or not at all."""
        write_whole(self._file, "".join(json.dumps(document) + "\n" for document in documents))

    def remove(self) -> None:
        """Begin again."""
        self._file.unlink(missing_ok=True)


def _ends_in_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read() == b"\n"
