"""Tables of figures in pages that people write: what stands between two marks is rewritten by a benchmark."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.rows import Row

DOCS = Path(__file__).resolve().parents[1] / "docs"


def write(section: str, text: str, page: Path) -> bool:
    """Put `text` between <!-- section --> and <!-- /section -->; the second mark is made when it is missing.

    False when the page has no such section.
    """
    begin, end = f"<!-- {section} -->", f"<!-- /{section} -->"
    before, found, after = page.read_text().partition(begin) if page.exists() else ("", "", "")
    if not found:
        return False
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after.partition(end)[2] if end in after else after}")
    return True


def figures(found: Sequence[Row]) -> str:
    """A table of rows, and whether they hold."""
    lines = [f"| {r.name} | {number(r.value)} {r.unit} | {r.goal} | {_verdict(r)} |" for r in found]
    return "\n".join(["| figure | value | goal | holds |", "|---|---|---|---|", *lines])


def number(value: float) -> str:
    """As many digits as one reads."""
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:g}"


def _verdict(row: Row) -> str:
    return "" if not row.goal else "yes" if row.holds else "**no**"
