"""JUnit's XML: a suite for each checkpoint, a test case for each gate.

``<failure>`` is a gate that failed, ``<error>`` one that could not be decided (or a checkpoint that
could not be read), ``<skipped>`` one that is waived or was not to be evaluated. What is only a
warning passes, and says so in ``<system-out>``.
"""

from __future__ import annotations

from xml.etree import ElementTree

from lla.audit.findings import Audit, Audited, Finding, Outcome, Trouble

__all__ = ["render"]

_WHOLE = "report"


def render(audit: Audit) -> str:
    """The XML document."""
    root = ElementTree.Element("testsuites", name="lla audit")
    for one in audit.audited:
        root.append(_suite(one))
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ElementTree.indent(root)
    # Letters beyond ASCII as references: the text is UTF-8 whatever stream it goes to.
    text = ElementTree.tostring(root, encoding="us-ascii", xml_declaration=False).decode()
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _suite(one: Audited) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=_valid(one.name))
    if one.error is not None:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_valid(one.name), name=_WHOLE, time="0"
        )
        error = ElementTree.SubElement(
            case, "error", type=type(one.error).__name__, message=_valid(one.error.reason)
        )
        error.text = _valid(one.error.remedy)
    for finding in one.findings:
        suite.append(_case(one.name, finding))
    tags = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    suite.set("tests", str(len(suite)))
    for key, tag in tags.items():
        suite.set(key, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("time", "0")
    return suite


def _case(name: str, finding: Finding) -> ElementTree.Element:
    gate = finding.gate
    case = ElementTree.Element("testcase", classname=_valid(name), name=gate.id, time="0")
    outcome, trouble = finding.outcome, finding.trouble
    message = _valid(finding.message)
    if trouble is Trouble.FAILURE or trouble is Trouble.DOUBT:
        tag = "failure" if trouble is Trouble.FAILURE else "error"
        found = ElementTree.SubElement(case, tag, type=outcome.value, message=message)
        found.text = _valid("\n".join(filter(None, (f"asks for: {gate.asks}", gate.why))))
    elif trouble is Trouble.NONE and outcome is not Outcome.PASS:
        ElementTree.SubElement(case, "skipped", message=message)
    else:
        out = ElementTree.SubElement(case, "system-out")
        out.text = f"warning, {outcome.words}: {message}" if trouble is Trouble.WARNING else message
    return case


def _valid(text: str) -> str:
    """The text without what XML 1.0 cannot hold, even escaped."""
    return "".join(
        sign
        if sign in "\t\n\r"
        or 0x20 <= ord(sign) <= 0xD7FF
        or 0xE000 <= ord(sign) <= 0xFFFD
        or ord(sign) >= 0x10000
        else "\ufffd"
        for sign in text
    )
