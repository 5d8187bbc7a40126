"""What a policy may say, and how its mistakes are told: the gate, its line, the nearest name."""

import re
from pathlib import Path

import pytest

from lla.audit import parse_policy, read_policy
from lla.audit.explaining import explain, gate_named
from lla.audit.places import lines_of
from lla.audit.policy import matches
from lla.errors import ConfigurationError, NothingToDoError, SettingsFileError

GATE = 'id = "it"\nmetric = "hessian/lambda_max"\n'
GOOD = f"[[gate]]\n{GATE}max = 9\n"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_policy_of_the_notes() -> None:
    made = parse_policy("""
schema = 1
[defaults]
confidence = 0.9
on_inconclusive = "warn"
[[gate]]
id = "sharpness.max"
metric = "hessian/lambda_max"
max = 250.0
severity = "warning"
why = "2/lr at lr = 0.008"
[[gate]]
id = "sharpness.regression"
metric = "hessian/lambda_max"
baseline = { max_increase_rel = 0.25 }
confidence = 0.99
[[waiver]]
gate = "sharpness.max"
checkpoint = "runs/legacy-*"
reason = "known, retrained in v3"
expires = 2027-03-01
""")
    first, second = made.gates
    assert (first.line, second.line, made.waivers[0].line) == (6, 12, 17)
    assert (first.confidence, second.confidence) == (0.9, 0.99)
    assert first.on_inconclusive == second.on_inconclusive == "warn"
    assert (first.severity, second.severity) == ("warning", "error")
    assert second.baseline.limits == {"max_increase_rel": 0.25}
    assert made.waivers[0].covers("sharpness.max", ["./runs/legacy-1.pt"])
    assert not made.waivers[0].covers("sharpness.max", ["runs/new.pt"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'[[gate]]\n{GATE}maxx = 9', ["line 1: gate 'it'", "unknown key 'maxx'", "'max'"]),
        ('[[gate]]\nid = "it"\nmetric = "hessian/lamda_max"\nmax = 9',
         ["line 1: gate 'it'", "no metric 'hessian/lamda_max'", "mean 'hessian/lambda_max'"]),
        ('[[gate]]\nid = "it"\nmetric = "hessian/type"\nmax = 9', ["line 1", "is in words"]),
        ('[[gate]]\nid = "it"\nmetric = "hessian/K_H0.5"\nmax = 9', ["no stated confidence"]),
        ('[[gate]]\nid = "it"\nmetric = "landscape/center_error"\nbaseline = { max_increase = 1 }',
         ["checks the run"]),
        ('[[gate]]\nid = "it"\nverdict = "stabilty.gd"', ["no verdict", "'stability'"]),
        ('[[gate]]\nid = "it"\nverdict = "stability.gd"\naccept = []', ["accept", "cannot pass"]),
        ('[[gate]]\nid = "it"\nverdict = "stability.gd"\naccept = ["inconclusive"]',
         ["decide nothing"]),
        ('[[gate]]\nid = "it"\nverdict = "stability.gd"\naccept = ["fine"]', ["accept"]),
        (f'{GOOD}\n[[gate]]\n{GATE.replace("it", "two")}between = [3, 2]',
         ["line 6: gate 'two'", "nothing lies between 3 and 2"]),
        (f'[[gate]]\n{GATE}max = nan', ["max = nan is not valid", "not finite"]),
        (f'[[gate]]\n{GATE}max = "9 or so"', ['max = "9 or so"', "no number"]),
        (f'[[gate]]\n{GATE}between = [1]', ["between = [1] is not valid", "too few"]),
        (f'[[gate]]\n{GATE}max = 1\nmin = 0', ["it has max and min", "one of max, min, between"]),
        (f'[[gate]]\n{GATE}', ["it has no limit"]),
        ('[[gate]]\nid = "it"\nmax = 1', ["neither a metric nor a verdict"]),
        ('[[gate]]\nmetric = "hessian/trace"\nmax = 1', ["line 1: a gate: id is missing"]),
        (f'[[gate]]\n{GATE.replace("it", "a b")}max = 1', ['id = "a b" is not valid']),
        (f'[[gate]]\n{GATE}baseline = {{ max_increase_rel = -0.1 }}', ["less than 0"]),
        (f'[[gate]]\n{GATE}baseline = {{ }}', ["its baseline has no limit"]),
        (f'[[gate]]\n{GATE}baseline = {{ max_increse = 1 }}',
         ["unknown key 'max_increse'", "'max_increase'"]),
        (f'[[gate]]\n{GATE}baseline = {{ max_increase = 1, across = ["date"] }}',
         ["across = 'date'", "'data'"]),
        (f'[[gate]]\n{GATE}max = 1\nconfidence = 1.0', ["confidence = 1.0", "not less than 1"]),
        (f'[[gate]]\n{GATE}max = 1\nseverity = "eror"', ['severity = "eror"', "'error'"]),
        (f'{GOOD}{GOOD}', ["line 5: gate 'it'", "another of this id"]),
        (f'{GOOD}[defaults]\nconfidense = 0.9', ["[defaults]", "'confidence'"]),
        (f'{GOOD}[defaults]\nfurther_runs = -1', ["further_runs = -1"]),
        (f'{GOOD}[[gates]]\n', ["unknown key 'gates'", "mean 'gate'"]),
        (f'{GOOD}[[waiver]]\ngate = "itt"\nreason = "r"\nexpires = 2027-01-01',
         ["line 5: waiver of 'itt'", "no gate 'itt'", "mean 'it'"]),
        (f'{GOOD}[[waiver]]\ngate = "it"\nexpires = 2027-01-01', ["line 5", "reason is missing"]),
        (f'{GOOD}[[waiver]]\ngate = "it"\nreason = ""\nexpires = 2027-01-01', ['reason = ""']),
        (f'{GOOD}[[waiver]]\ngate = "it"\nreason = "r"', ["line 5", "expires is missing"]),
        (f'{GOOD}[[waiver]]\ngate = "it"\nreason = "r"\nexpires = "soon"', ['expires = "soon"']),
        (f'{GOOD}[[override]]\ngate = "it"\ncheckpoint = "a"\nmin = 1',
         ["line 5: override of 'it'", "it has max and min"]),
        (f'{GOOD}[[override]]\ngate = "it"\nmax = 1', ["line 5", "checkpoint is missing"]),
        (f'{GOOD}[[override]]\ngate = "if"\ncheckpoint = "a"\nmax = 1', ["no gate 'if'"]),
        ("schema = 2\n" + GOOD, ["has schema 2", "knows schema 1"]),
        ("[gate]\nid = 1", ["gate is no array of tables"]),
        ("[[gate]\n", ["not valid TOML"]),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_gate_and_line(text: str, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(text, "p.toml")
    told = f"{caught.value.reason} {caught.value.remedy}"
    for word in words:
        assert word in told, told
    assert "p.toml" in told
    assert caught.value.exit_code == 2
    assert caught.value.remedy


def test_a_policy_without_gates_is_nothing_to_do() -> None:
    with pytest.raises(NothingToDoError) as caught:
        parse_policy("schema = 1")
    assert caught.value.exit_code == 3


TRAPS = '''
# [[gate]]
text = """
[[gate]]
"""
other = \'\'\'
[[gate]]
\'\'\'
escaped = "\\"[[gate]]"
nested = [
  [[1, 2]],
  ["[[gate]]"],
]
[[ gate ]] # the first
why = "]]"
  [["gate"]]
[[tool.lla.audit.gate]]
[plain]
x = 1
[[gate]]
'''


def test_lines_are_those_of_the_headers_alone() -> None:
    wanted = [
        index
        for index, line in enumerate(TRAPS.splitlines(), 1)
        if re.fullmatch(r'\s*\[\[\s*"?gate"?\s*\]\](\s*#.*)?', line)
    ]
    # The comment is none of them, and two are inside of texts.
    inside = [4, 7]
    assert lines_of(TRAPS, "gate") == [line for line in wanted if line not in inside]
    assert lines_of(TRAPS, "tool.lla.audit.gate") == [17]


def test_gates_written_inline_have_a_line_too() -> None:
    made = parse_policy('gate = [{ id = "it", metric = "hessian/trace", max = 1 }]')
    assert made.gates[0].line == 1


def test_where_a_policy_is_found() -> None:
    project = '[project]\nname = "x"\n\n[tool.lla.audit]\nschema = 1\n\n[[tool.lla.audit.gate]]\n'
    with pytest.raises(ConfigurationError, match="there is no policy") as caught:
        read_policy()
    assert "lla audit --init" in caught.value.remedy
    Path("pyproject.toml").write_text(f"{project}{GATE}max = 3\n")
    made = read_policy()
    assert (made.path, made.gates[0].max, made.gates[0].line) == ("pyproject.toml", 3, 7)
    Path("lla-policy.toml").write_text(GOOD)
    assert read_policy().gates[0].max == 9
    assert read_policy("pyproject.toml").gates[0].max == 3
    with pytest.raises(SettingsFileError, match=r"none\.toml cannot be read"):
        read_policy("none.toml")
    Path("bad.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="no UTF-8"):
        read_policy("bad.toml")


def test_a_policy_in_the_project_file_is_no_setting() -> None:
    from lla.settings import gather

    Path("pyproject.toml").write_text(
        f"[tool.lla.run]\nseed = 7\n[[tool.lla.audit.gate]]\n{GATE}max = 3\n"
    )
    assert gather("model.pt").run.seed == 7


def test_globs_match_names_as_given_and_in_short() -> None:
    assert matches("runs/*", ["./runs/a/b.pt"])
    assert matches("*", ["anything"])
    assert not matches("runs/*", ["", "other/a"])
    assert matches("a[[]1].pt", ["a[1].pt"])


def test_explanations() -> None:
    made = parse_policy(f"""{GOOD}why = "because"
[[gate]]
id = "gd"
verdict = "stability.gd"
severity = "warning"
[[gate]]
id = "change"
metric = "hessian/trace"
baseline = {{ max_increase_rel = 0.25 }}
[[override]]
gate = "it"
checkpoint = "large*"
max = 20
[[waiver]]
gate = "it"
reason = "known"
expires = 2027-01-01
[defaults]
further_runs = 2
""")
    from datetime import date

    text = " ".join(explain(made, made.gates[0], date(2027, 1, 1)).split())
    for words in (
        "it (lla-policy.toml, line 1)",
        "hessian/lambda_max at most 9",
        "algebraically largest eigenvalue",
        "because",
        "its upper end is at most 9",
        "lower end is above 9",
        "inconclusive: exit code 4",
        "2 further runs, judged at 97.5 %",
        "large*: hessian/lambda_max at most 20 (line 14)",
        "waived * until 2027-01-01",
    ):
        assert words in text, words
    assert "no longer * until" in explain(made, made.gates[0], date(2027, 1, 2)).replace(
        "no longer    ", "no longer "
    )
    assert "a warning" in explain(made, made.gates[1], date(2027, 1, 1))
    assert "at most 25 % up, against the baseline" in " ".join(
        explain(made, made.gates[2], date(2027, 1, 1)).split()
    )
    with pytest.raises(ConfigurationError, match=r"no gate 'chnge' \(did you mean 'change'\?\)"):
        gate_named(made, "chnge")
