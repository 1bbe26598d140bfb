"""YAML that others wrote: one document, or a mistake with its line. Never another exception, and never for long.

PyYAML alone will not do. It lets out a dozen kinds of exceptions of Python's own, keeps the last of two fields of one
name without a word, and a few lines of aliases, or one long number, cost it hours or all memory.
"""

import errno
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.reader import ReaderError

from noren.domain.errors import SpecError

_MOST_BYTES = 256 * 2**10  # of a file
_MOST_PARTS = 20_000  # of a document: every alias counts as all that it stands for
_LONGEST_NUMBER = 100  # characters; 1:1:1:... is a number too, to the base of 60
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
# Beside its own errors, PyYAML lets these out: for `!!bool x`, `!!int ""`, 2026-13-45, "\UFFFFFFFF", "[" * 5000.
_LET_OUT = (ValueError, LookupError, ArithmeticError, AttributeError, TypeError, RecursionError)


def parse(path: Path) -> tuple[yaml.Node | None, object]:
    """A YAML file's nodes, which know their lines, and its content. Raises SpecError, naming file and line."""
    text = _text(path)
    try:
        return document(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        fix = error.note or "check indentation, colons and quotes"
        raise SpecError(f"{path}:{line}: not YAML: {shown(error.problem, most=200)}", fix=fix) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        said = str(error).splitlines()[0]
        raise SpecError(f"{path}:{line}: not YAML: {said}", fix="save it as plain UTF-8 text") from error


def document(text: str, *, most_parts: int = _MOST_PARTS) -> tuple[yaml.Node | None, Any]:
    """The nodes and the content of the one document in the text; (None, None) when there is none.

    most_parts  how many values there may be, with every alias counted as all that it stands for
    Raises yaml.YAMLError alone; mostly it has the place, and sometimes in `note` what to do.
    """
    loader = _Loader(text)
    loader.most_parts = most_parts
    try:
        node = loader.get_single_node()
        if node is None:
            return None, None
        _unfold(node, {}, most_parts)
        return node, loader.construct_document(node)
    except _LET_OUT as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise yaml.MarkedYAMLError(problem=said, problem_mark=loader.get_mark()) from error
    finally:
        loader.dispose()


def contents(path: Path, most: int) -> bytes:
    """A file's bytes, at most one more than `most`. Raises OSError, and ValueError for a path with a null byte."""
    mode = path.stat().st_mode
    # Opening a pipe waits for somebody who writes into it, and a device may never end.
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
    with path.open("rb") as file:
        return file.read(most + 1)


def shown(part: object, *, most: int = 60) -> str:
    """A name, or what is said of it, for a message: on one line and not too long, whatever is in it."""
    text = str(part)
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= most else f"{text[:most]}..."


class _Loader(yaml.SafeLoader):
    """Says where a value is that it cannot make, and stops in time."""

    composed = 0
    most_parts = _MOST_PARTS

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.composed += 1
        if self.composed > self.most_parts:
            raise _too_much(self.get_mark(), self.most_parts)
        return super().compose_node(parent, index)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except _LET_OUT as error:
            # Other errors than these tell what PyYAML is like inside, not what is wrong.
            said = str(error) if isinstance(error, ValueError) else f"this is no {node.tag.rpartition(':')[2]}"
            fix = "put text that looks like a number or a date in quotes"
            raise ConstructorError(problem=said, problem_mark=node.start_mark, note=fix) from error


def _unfold(node: yaml.Node, sizes: dict[int, int], most: int) -> int:
    """How many parts there are with all aliases unfolded. Raises MarkedYAMLError where they are too many or endless.

    sizes  of the nodes that were met, by identity; 0 while it is being found out
    """
    size = sizes.setdefault(id(node), 0)
    if size:
        return size
    _see_sound(node)
    size = 1
    for child in _children(node):
        if sizes.get(id(child)) == 0:
            raise _mistake("it contains itself", child, "write out what the alias stands for")
        size += _unfold(child, sizes, most)
        if size > most:
            raise _too_much(node.start_mark, most)
    sizes[id(node)] = size
    return size


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _see_sound(node: yaml.Node) -> None:
    """Raise MarkedYAMLError for what PyYAML takes, and nobody means."""
    if node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
        raise _mistake(f"a number of {len(node.value)} characters", node, "put text that looks like a number in quotes")
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in lines:
                said = f"{shown(key.value)} is there twice, first in line {lines[key.value]}"
                raise _mistake(said, key, "keep one of them")
            lines[key.value] = key.start_mark.line + 1


def _mistake(said: str, node: yaml.Node, fix: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=said, problem_mark=node.start_mark, note=fix)


def _too_much(mark: yaml.Mark | None, most: int) -> yaml.MarkedYAMLError:
    said = f"more than {most} parts, with aliases written out"
    return yaml.MarkedYAMLError(problem=said, problem_mark=mark, note="keep data elsewhere")


def _text(path: Path) -> str:
    try:
        content = contents(path, _MOST_BYTES)
    except FileNotFoundError as error:
        raise SpecError(
            f"{path}: no such file", fix="name a deployment file, for example deploy/<name>.yaml"
        ) from error
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise SpecError(f"{path}: cannot be read: {said}", fix="check the file") from error
    if len(content) > _MOST_BYTES:
        raise SpecError(f"{path}: it has over {_MOST_BYTES} bytes", fix="name a deployment file; keep data elsewhere")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpecError(f"{path}:{line}: cannot be read: it is no UTF-8", fix="save it as plain UTF-8 text") from error
