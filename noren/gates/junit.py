"""A verdict for machines that read JUnit: one test case for each check."""

from xml.etree import ElementTree as Xml  # written, never read

from noren.domain.verdict import Outcome, Verdict

_TAGS = {Outcome.FAIL: "failure", Outcome.HOLD: "failure", Outcome.INVALID: "error"}


def junit(verdict: Verdict) -> str:
    """The verdict as JUnit XML. What does not pass is a failure; what could not be measured is an error."""
    counts = {tag: sum(_TAGS.get(c.outcome) == tag for c in verdict.checks) for tag in ("failure", "error")}
    seconds = f"{(verdict.ended_at - verdict.started_at).total_seconds():.3f}"
    suite = Xml.Element(
        "testsuite",
        name="noren gate",
        tests=str(len(verdict.checks)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        time=seconds,
        timestamp=verdict.started_at.isoformat(),
    )
    for check in verdict.checks:
        case = Xml.SubElement(suite, "testcase", classname="noren.gate", name=_plain(check.name))
        if tag := _TAGS.get(check.outcome):
            Xml.SubElement(case, tag, type=check.outcome.value, message=_plain(check.detail))
        else:
            Xml.SubElement(case, "system-out").text = _plain(check.detail)
    Xml.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + Xml.tostring(suite, encoding="unicode") + "\n"


def _plain(text: str) -> str:
    """Without the control characters that no XML may hold (https://www.w3.org/TR/xml/#charsets)."""
    return "".join(c if c in "\t\n\r" or ord(c) >= 0x20 else "?" for c in text)
