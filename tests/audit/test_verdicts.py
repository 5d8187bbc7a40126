"""Every kind of gate in every situation: the verdict, the exit code, and each output."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from lla.audit import Format, Outcome, audit, parse_policy, render
from lla.audit.auditing import today_utc
from lla.estimate import Estimate, Verdict
from tests.audit.reading import (
    junit_tag,
    read_github,
    read_json,
    read_junit,
    read_markdown,
    read_sarif,
)
from tests.comparing.test_comparison import report
from tests.plots import build

SITUATIONS = (
    "pass",
    "fail",
    "straddle",
    "missing",
    "not_converged",
    "not_comparable",
    "waived",
    "expired",
)


def about(value, half=0.5):
    return Estimate(value, value - half, value + half, 0.95, stderr=half / 2, method="by hand")


def unconverged(value):
    return Estimate(value, value - 0.1, value + 0.1, converged=False)


MISSING = Estimate.missing("there is none")
# The gate's limit, and λ_max where it clearly passes, clearly fails, and lies at the limit.
VALUES = {
    "max": ("max = 12", about(10), about(14), about(12.1)),
    "min": ("min = 8", about(10), about(6), about(7.9)),
    "between": ("between = [8, 12]", about(10), about(14), about(7.9)),
    # Against 10 ± 0.1 of the same seed: half-widths add.
    "baseline": ("baseline = { max_increase_rel = 0.1 }", about(10), about(14), about(11.1)),
}
# With a learning rate of 0.1, and 5 % for the edge.
RATES = {
    "pass": build.certified(0.2),
    "fail": build.certified(0.05, 0.001),
    "straddle": about(0.095, 0.01),
    "missing": MISSING,
    "not_converged": Estimate(0.2, 0.1, 0.3, converged=False),
}


def judged(rate):
    """Stability with the verdict that the analysis itself gives."""
    from lla.analyses.stability.condition import Condition
    from lla.analyses.stability.verdicts import judge

    verdict = judge(Condition("stability.gd", "GD", rate), 0.1, 0.05)
    return build.stability(gd_max_lr=rate, verdicts=(verdict,))


def measured(kind, situation):
    """The gate's TOML and the report in a situation."""
    if kind == "verdict":
        rate = RATES.get(situation, RATES["fail" if situation in ("waived", "expired") else "pass"])
        configuration = {"stability": {"edge": 0.05}}
        return 'verdict = "stability.gd"', report(
            "new.pt", stability=judged(rate), configuration=configuration
        )
    limit, passes, fails, straddles = VALUES[kind]
    value = {
        "fail": fails,
        "waived": fails,
        "expired": fails,
        "straddle": straddles,
        "missing": MISSING,
        "not_converged": unconverged(passes.value),
    }.get(situation, passes)
    data = {"sha256": "cafe"} if situation == "not_comparable" else None
    return f'metric = "hessian/lambda_max"\n{limit}', report(
        "new.pt", spectrum=build.spectrum(lambda_max=value), data=data
    )


def expected(kind, situation):
    """The verdict and the exit code."""
    if situation == "not_comparable" and kind != "baseline":
        return "pass", 0  # a limit on a value asks for no baseline
    return {
        "pass": ("pass", 0),
        "fail": ("fail", 1),
        "straddle": ("inconclusive", 4),
        "missing": ("not_evaluated", 4),
        "not_converged": ("inconclusive", 4),
        "not_comparable": ("inconclusive", 4),
        "waived": ("waived", 0),
        "expired": ("fail", 1),
    }[situation]


# By verdict: JUnit's tag, GitHub's level, SARIF's kind, level, and whether it is suppressed.
SHOWN = {
    "pass": ("", None, "pass", "none", False),
    "fail": ("failure", "error", "fail", "error", False),
    "inconclusive": ("error", "error", "open", "none", False),
    "not_evaluated": ("error", "error", "notApplicable", "none", False),
    "waived": ("skipped", None, "fail", "error", True),
}


def policy(gate, situation):
    day = today_utc() + timedelta(days=-1 if situation == "expired" else 0)
    waiver = f"""
[[waiver]]
gate = "it"
checkpoint = "new*"
reason = "known, retrained in v3"
expires = {day}
"""
    return f"""schema = 1

[[gate]]
id = "other"
metric = "loss/value"
max = 1.0

[[gate]]
id = "it"
{gate}
why = "a reason, 100 %: <really> | sure"
{waiver if situation in ("waived", "expired") else ""}"""


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("kind", [*VALUES, "verdict"])
def test_verdict_exit_code_and_every_output(kind: str, situation: str) -> None:
    gate, new = measured(kind, situation)
    base = report("old.pt", spectrum=build.spectrum(lambda_max=about(10, 0.1)))
    made = audit(parse_policy(policy(gate, situation)), new, baseline=base)
    verdict, code = expected(kind, situation)
    assert made.exit_code == code
    tag, annotation, sarif_kind, level, suppressed = SHOWN[verdict]
    text = {one.value: render(one, made) for one in Format}

    found = read_json(text["json"])
    assert found["exit_code"] == code
    other, one = found["checkpoints"][0]["gates"]
    assert (other["verdict"], one["verdict"]) == ("pass", verdict)
    assert one["kind"] == kind
    assert one["line"] == 8
    assert one["without_waiver"] == ("fail" if verdict == "waived" else None)
    message = one["message"]
    if situation in ("waived", "expired"):
        assert one["waiver"]["holds"] == (situation == "waived")
        assert "known, retrained in v3" in message
        assert ("expired on" in message) == (situation == "expired")
    if situation == "not_comparable" and kind == "baseline":
        assert "not comparable: the data" in message
    if situation == "not_converged":
        assert "not converged" in message

    case = read_junit(text["junit"])[0][1]
    assert case.get("name") == "it"
    assert junit_tag(case) == tag
    annotations = read_github(text["github"])
    assert [name for name, *_ in annotations] == ([annotation] if annotation else [])
    for _, properties, data in annotations:
        assert properties["file"] == "lla-policy.toml"
        assert properties["line"] == "8"
        assert properties["title"] == f"it: {verdict.replace('_', ' ')}"
        assert data == f"new.h5: {message}\na reason, 100 %: <really> | sure"
    result = read_sarif(text["sarif"])["results"][1]
    assert (result["kind"], result["level"]) == (sarif_kind, level)
    assert ("suppressions" in result) == suppressed
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 8
    rows = read_markdown(text["markdown"])
    assert [row[0] for row in rows] == ["gate", "other", "it"]
    assert rows[2][1].strip("*") == verdict.replace("_", " ")
    assert "<really> | sure" in rows[2][2]
    assert f"  {verdict.replace('_', ' '):15}it\n" in text["text"]
    assert f"(exit code {code})" in text["text"]
    assert max(map(len, text["text"].splitlines())) <= 80


def outcome(gate, *, spectrum=None, base=None, today=None, waivers="", **changes):
    """The outcome of one gate."""
    made = report("new.pt", **({"spectrum": spectrum} if spectrum else {}), **changes)
    text = f'[[gate]]\nid = "it"\n{gate}\n{waivers}'
    found = lla_audit(text, made, base, today)
    return found.findings[0]


def lla_audit(text, made, base=None, today=None):
    return audit(parse_policy(text), made, baseline=base, today=today or date(2027, 1, 1))


def of_lambda_max(limit, value, **more):
    gate = f'metric = "hessian/lambda_max"\n{limit}'
    return outcome(gate, spectrum=build.spectrum(lambda_max=value), **more).outcome


@pytest.mark.parametrize(
    ("limit", "low", "high", "expected"),
    [
        # The bound itself is within the limit; a hair beyond is not.
        ("max = 12", 11, 12, "pass"),
        ("max = 12", 11, 12.001, "inconclusive"),
        ("max = 12", 12, 13, "inconclusive"),
        ("max = 12", 12.001, 13, "fail"),
        ("min = 12", 12, 13, "pass"),
        ("min = 12", 11.999, 13, "inconclusive"),
        ("min = 12", 11, 12, "inconclusive"),
        ("min = 12", 11, 11.999, "fail"),
        ("between = [11, 12]", 11, 12, "pass"),
        ("between = [11, 12]", 10.9, 11.5, "inconclusive"),
        ("between = [11, 12]", 10.9, 12.1, "inconclusive"),
        ("between = [11, 12]", 10, 10.9, "fail"),
        ("between = [11, 12]", 12.1, 13, "fail"),
        ("max = -1", -3, -2, "pass"),
        ("min = 0", -float("inf"), float("inf"), "inconclusive"),
    ],
)
def test_the_bound_is_compared_and_not_the_value(limit, low, high, expected) -> None:
    value = Estimate(low if abs(low) < 1e9 else 0.0, low, high)
    assert of_lambda_max(limit, value) == expected


@pytest.mark.parametrize(
    ("limits", "value", "expected"),
    [
        # Against 10 ± 0.1, with half-widths of 0.1 each that add up to 0.2.
        ("max_increase = 1", 10.7, "pass"),
        ("max_increase = 1", 11.1, "inconclusive"),
        ("max_increase = 1", 11.3, "fail"),
        ("max_increase = 1", 5, "pass"),
        ("max_decrease = 1", 9.3, "pass"),
        ("max_decrease = 1", 8.9, "inconclusive"),
        ("max_decrease = 1", 8.7, "fail"),
        ("max_decrease = 1", 50, "pass"),
        ("max_decrease_rel = 0.1", 8.5, "fail"),
        ("max_increase = 1, max_decrease = 1", 10, "pass"),
        ("max_increase = 1, max_decrease = 1", 8, "fail"),
        ("max_increase = 1, max_decrease_rel = 0.5", 12, "fail"),
        ("max_increase = 2, max_increase_rel = 0.1", 11.05, "inconclusive"),
    ],
)
def test_changes_against_a_baseline(limits, value, expected) -> None:
    base = report("old.pt", spectrum=build.spectrum(lambda_max=about(10, 0.1)))
    assert of_lambda_max(f"baseline = {{ {limits} }}", about(value, 0.1), base=base) == expected


def test_a_relative_change_of_something_negative_is_of_its_size() -> None:
    base = report("old.pt", spectrum=build.spectrum(lambda_min=build.certified(-10)))
    gate = 'metric = "hessian/lambda_min"\nbaseline = { max_decrease_rel = 0.1 }'
    for value, expected in ((-10.5, "pass"), (-12, "fail"), (-8, "pass")):
        spectrum = build.spectrum(lambda_min=build.certified(value))
        assert outcome(gate, spectrum=spectrum, base=base).outcome == expected


def test_what_the_baseline_must_have_in_common() -> None:
    gate = 'metric = "hessian/trace"\nbaseline = { max_increase = 9 }'
    for changes, word in (
        ({"data": {"sha256": "cafe"}}, "the data"),
        ({"dtype": "float64"}, "the dtype"),
        ({"configuration": {"loss": {"name": "mse", "args": {}}}}, "the loss"),
    ):
        found = outcome(gate, base=report("old.pt", **changes))
        assert found.outcome == "inconclusive"
        assert word in found.message
        assert not found.loose
    crossed = 'metric = "hessian/trace"\nbaseline = { max_increase = 9, across = ["dtype"] }'
    assert outcome(crossed, base=report("old.pt", dtype="float64")).outcome == "pass"


def test_a_confidence_that_the_report_does_not_have() -> None:
    gate = 'metric = "hessian/lambda_max"\nmax = 99\nconfidence = {}'
    for value, confidence, expected in (
        (about(10), 0.9, "pass"),
        (about(10), 0.95, "pass"),
        (about(10), 0.99, "inconclusive"),
        (build.certified(10), 0.999, "pass"),  # certified, or exact: at any
    ):
        found = outcome(gate.format(confidence), spectrum=build.spectrum(lambda_max=value))
        assert found.outcome == expected, confidence
    found = outcome(gate.format(0.99), spectrum=build.spectrum(lambda_max=about(10)))
    assert "holds at 95 %, and 99 % is asked for" in found.message
    assert "--confidence 0.99" in found.message
    # Intervals that hold together at less than each: both reports have to be surer.
    joined = replace(about(10), confidence=0.9)
    found = outcome(gate.format(0.95), spectrum=build.spectrum(lambda_max=joined))
    assert "--confidence 0.975" in found.message
    verdict = 'verdict = "stability.gd"\nconfidence = 0.99'
    told = Verdict("stability.gd", "consistent", "below it")
    alone = build.stability(gd_max_lr=MISSING, verdicts=(told,))
    assert outcome(verdict, stability=alone).outcome == "inconclusive"


def test_the_error_of_the_sample_counts_if_asked_for() -> None:
    """√(0.5² + (1.96·1)²) = 2.02 at 95 %."""
    sampled = replace(about(10), sampling_stderr=1.0)
    gate = 'metric = "hessian/lambda_max"\nmax = {}\ninclude_sampling = {}'
    for limit, include, expected in (
        (11, "false", "pass"),
        (11, "true", "inconclusive"),
        (12.0, "true", "inconclusive"),
        (12.1, "true", "pass"),
        (7.9, "true", "fail"),
        (8.0, "true", "inconclusive"),
    ):
        spectrum = build.spectrum(lambda_max=sampled)
        assert outcome(gate.format(limit, include), spectrum=spectrum).outcome == expected
    unknown = outcome(gate.format(99, "true"), spectrum=build.spectrum(lambda_max=about(10)))
    assert unknown.outcome == "inconclusive"
    assert "how much hessian/lambda_max varies" in unknown.message
    # A certified value takes the error of the sample at the policy's confidence: 2.576 at 99 %.
    bound = replace(build.certified(10.0), sampling_stderr=1.0)
    for limit, expected in ((12.57, "inconclusive"), (12.6, "pass")):
        text = f"{gate.format(limit, 'true')}\nconfidence = 0.99"
        assert outcome(text, spectrum=build.spectrum(lambda_max=bound)).outcome == expected


@pytest.mark.parametrize(
    ("low", "high", "accept", "expected"),
    [
        # η = 0.1, the edge within 5 %: at the edge from 0.0952 to 0.1053.
        (0.19, 0.21, ["consistent"], "pass"),
        (0.104, 0.107, ["consistent", "at_edge"], "pass"),
        (0.104, 0.107, ["consistent"], "inconclusive"),
        (0.101, 0.102, ["consistent"], "fail"),
        (0.101, 0.102, ["at_edge"], "pass"),
        (0.094, 0.097, ["consistent", "at_edge"], "inconclusive"),
        (0.05, 0.06, ["consistent", "at_edge"], "fail"),
        (0.05, 0.2, ["consistent", "at_edge"], "inconclusive"),
        (0.05, 0.06, ["violated"], "pass"),
    ],
)
def test_every_verdict_that_the_interval_leaves_open(low, high, accept, expected) -> None:
    rate = Estimate((low + high) / 2, low, high, 0.95, stderr=(high - low) / 4)
    found = outcome(
        f'verdict = "stability.gd"\naccept = {accept}',
        stability=judged(rate),
        configuration={"stability": {"edge": 0.05}},
    )
    if found.stated.verdict == "inconclusive":
        assert expected == "inconclusive"
    assert found.outcome == expected


WAIVER = '[[waiver]]\ngate = "it"\nreason = "known"\nexpires = 2027-01-01\n'


@pytest.mark.parametrize(
    ("today", "expected"),
    [(date(2026, 12, 31), "waived"), (date(2027, 1, 1), "waived"), (date(2027, 1, 2), "fail")],
)
def test_the_last_day_of_a_waiver_counts(today, expected) -> None:
    limit = 'metric = "hessian/lambda_max"\nmax = 1'
    found = outcome(limit, today=today, waivers=WAIVER)
    assert found.outcome == expected
    assert ("expired on 2027-01-01" in found.message) == (expected == "fail")


def test_a_waiver_is_for_some_checkpoints_and_for_what_does_not_pass() -> None:
    limit = 'metric = "hessian/lambda_max"\nmax = {}'
    for glob, expected in (("new*", "waived"), ("*/new*", "fail"), ("old*", "fail")):
        text = WAIVER.replace('gate = "it"', f'gate = "it"\ncheckpoint = "{glob}"')
        assert outcome(limit.format(1), waivers=text).outcome == expected, glob
    assert outcome(limit.format(99), waivers=WAIVER).outcome == "pass"
    # Without a waiver inconclusive, and not evaluated.
    assert outcome(limit.format(10), waivers=WAIVER).was == "inconclusive"
    assert outcome(limit.format(10), waivers=WAIVER, spectrum=None).outcome == "waived"
    absent = replace(build.spectrum(), lambda_max=MISSING)
    assert outcome(limit.format(10), waivers=WAIVER, spectrum=absent).was == "not_evaluated"
    text = f'[[gate]]\nid = "it"\n{limit.format(99)}\n{WAIVER}'
    assert "not needed here" in lla_audit(text, report()).notes[0]
    (note,) = lla_audit(text, report(), today=date(2028, 1, 1)).notes
    assert "line 5: the waiver of 'it' expired on 2027-01-01" in note


def test_severity_and_what_is_not_required() -> None:
    gate = '[[gate]]\nid = "it"\nmetric = "hessian/lambda_max"\nmax = {}\n{}\n'
    passing = '[[gate]]\nid = "other"\nmetric = "loss/value"\nmax = 1\n'
    for limit, more, code, trouble in (
        (1, "", 1, "failure"),
        (1, 'severity = "warning"', 0, "warning"),
        (10, "", 4, "doubt"),
        (10, 'severity = "warning"', 0, "warning"),
        (10, 'on_inconclusive = "warn"', 0, "warning"),
        (1, 'on_inconclusive = "warn"', 1, "failure"),
    ):
        found = lla_audit(gate.format(limit, more) + passing, report())
        assert found.exit_code == code, (limit, more)
        assert found.findings[0].trouble == trouble
    absent = report(spectrum=None)
    for more, code in (("", 4), ("required = false", 0), ('on_inconclusive = "warn"', 0)):
        assert lla_audit(gate.format(1, more) + passing, absent).exit_code == code
        # Where nothing at all could be evaluated, nothing was audited.
        assert lla_audit(gate.format(1, more), absent).exit_code == 3
    assert "make it: lla spectrum" in lla_audit(gate.format(1, ""), absent).findings[0].message


def test_an_override_for_some_checkpoints() -> None:
    text = """
[[gate]]
id = "it"
metric = "hessian/lambda_max"
max = 9
[[override]]
gate = "it"
checkpoint = "large*"
max = 11
[[override]]
gate = "it"
checkpoint = "tiny*"
skip = true
"""
    for path, expected in (("new.pt", ["fail"]), ("large.pt", ["pass"]), ("tiny.pt", [])):
        found = lla_audit(text, report(path)).findings
        assert [one.outcome for one in found] == expected


def test_a_verdict_that_the_report_does_not_have() -> None:
    text = '[[gate]]\nid = "it"\nverdict = "stability.{}"\n'
    found = audit(parse_policy(text.format("gdd")), report(stability=judged(RATES["pass"])))
    assert found.exit_code == 2
    assert "did you mean 'stability.gd'" in found.audited[0].error.reason
    assert audit(parse_policy(text.format("gd")), report(stability=None)).exit_code == 3


def test_all_outcomes_are_shown() -> None:
    assert {outcome.value for outcome in Outcome} == set(SHOWN)
