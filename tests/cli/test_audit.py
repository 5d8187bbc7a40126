"""``lla audit``: exit codes, streams, files, baselines, and checkpoints that are analysed first."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import Result

import lla
from tests.audit.reading import read_github, read_json, read_junit, read_markdown
from tests.cli.test_show import process, run
from tests.comparing.test_comparison import report, sharper
from tests.plots import build

GATE = '[[gate]]\nid = "sharpness"\nmetric = "hessian/lambda_max"\n'
REGRESSION = '[[gate]]\nid = "change"\nmetric = "hessian/lambda_max"\nbaseline = {limits}\n'


@pytest.fixture(autouse=True)
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    lla.write(small("a.pt"), "a.h5")  # λ_max = 10 ± 0.01
    lla.write(small("b.pt", spectrum=sharper(5)), "b.h5")
    Path("lla-policy.toml").write_text(f"{GATE}max = 12\n")


def small(path, **changes):
    return report(path, landscape=None, saliency=None, **changes)


def audit(*arguments: object, **options: object) -> Result:
    return run("audit", *arguments, **options)


def policy(text: str) -> None:
    Path("lla-policy.toml").write_text(text)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["a.h5"], 0),
        (["b.h5"], 1),
        (["*.h5"], 1),
        (["b.h5", "--exit-zero"], 0),
        (["b.h5", "none.h5"], 5),
        (["none.h5", "--exit-zero"], 5),
        (["none.pt"], 5),
        (["c*.h5"], 3),
        ([], 3),
        (["a.h5", "--policy", "none.toml"], 5),
        (["a.h5", "--output", "jsn"], 2),
        (["a.h5", "--output", "json", "--output", "junit"], 2),
        (["a.h5", "--output", "json:"], 2),
        (["a.h5", "--output", "json:x", "--output", "junit:x"], 2),
        (["a.h5", "--output", "json:none/x"], 5),
        (["a.h5", "--output", "json:a.h5"], 5),
        (["a.h5", "--output", "json:b.h5"], 5),
        (["a.h5", "--update-baseline"], 2),
        (["--explain", "sharpnes"], 2),
        (["--explain", "sharpness"], 0),
        (["--explain", "sharpness", "b.h5"], 1),
        (["--init", "a.h5"], 2),
        (["--init", "a.h5", "b.h5"], 2),
    ],
)
def test_exit_codes(arguments: list[str], code: int) -> None:
    before = Path("a.h5").read_bytes()
    done = audit(*arguments)
    assert done.exit_code == code, done.stderr
    if code in (2, 3):
        assert done.stdout == ""
        reason, remedy = done.stderr.strip().split("\n")
        assert reason.startswith("lla: ")
        assert remedy.startswith("     ")
    assert Path("a.h5").read_bytes() == before


def test_an_error_comes_before_a_failure_and_the_others_are_judged() -> None:
    Path("torn.h5").write_bytes(Path("a.h5").read_bytes()[:-3000])
    done = audit("torn.h5", "a.h5", "b.h5", "--output=json", "--output=junit:out.xml")
    assert done.exit_code == 5
    found = read_json(done.stdout)
    verdicts = [[gate["verdict"] for gate in one["gates"]] for one in found["checkpoints"]]
    assert verdicts == [[], ["pass"], ["fail"]]
    assert found["checkpoints"][0]["error"]["exit_code"] == 5
    assert [suite.get("errors") for suite in read_junit(Path("out.xml").read_text())] == [
        "1", "0", "0"
    ]  # fmt: skip
    assert "lla: torn.h5: " in done.stderr


def test_files_are_written_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    audit("a.h5", "--output=json:out.json", "--output=markdown:out.md")
    first = Path("out.json").read_text()
    assert json.loads(first)["exit_code"] == 0
    # A renderer that breaks: nothing is written, what was there stays.
    from lla.audit.formats import markdown

    monkeypatch.setattr(markdown, "render", lambda audit: 1 / 0)
    done = audit("b.h5", "--output=json:out.json", "--output=markdown:out.md")
    assert done.exit_code == 70
    assert Path("out.json").read_text() == first
    assert sorted(path.name for path in Path().iterdir() if path.name.startswith(".")) == []


def test_annotations_beside_the_text_and_the_steps_summary() -> None:
    summary = Path("summary.md")
    summary.write_text("before\n")
    environment = {"GITHUB_STEP_SUMMARY": str(summary)}
    done = audit("b.h5", "--output=text", "--output=github", env=environment)
    assert done.exit_code == 1
    start = done.stdout.index("::error")
    ((level, properties, data),) = read_github(done.stdout[start:])
    assert (level, properties["line"]) == ("error", "1")
    assert "above 12" in data
    text = summary.read_text()
    assert text.startswith("before\n**A gate failed.**")
    assert read_markdown(text)[1][0] == "sharpness"
    audit("b.h5", env=environment)  # without that format it is left alone
    assert summary.read_text() == text


def test_a_pipe() -> None:
    done = process("audit", "-", input=Path("b.h5").read_bytes(), encoding="ascii")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(b"-\n  fail           sharpness")


def test_an_audit_of_a_report_loads_no_torch() -> None:
    import subprocess
    import sys

    script = (
        "import sys\nfrom lla_cli.main import main\n"
        "sys.argv = ['lla', 'audit', 'a.h5', 'b.h5', '--output=sarif:x.sarif', '--output=junit']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 1\n"
        "print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_a_baseline_is_made_kept_and_made_anew() -> None:
    policy(REGRESSION.format(limits="{ max_increase_rel = 0.25 }"))
    assert audit("a.h5").exit_code == 3  # nothing to compare with, nothing else asked
    missing = audit("a.h5", "--baseline=base.h5")
    assert missing.exit_code == 3
    assert "--update-baseline" in missing.stdout
    first = audit("a.h5", "--baseline=base.h5", "--update-baseline")
    assert first.exit_code == 0
    assert "this audit makes it" in " ".join(first.stdout.split())
    assert "--update-baseline" not in first.stdout
    assert Path("base.h5").read_bytes() == Path("a.h5").read_bytes()
    assert audit("a.h5", "--baseline=base.h5").exit_code == 0
    assert audit("b.h5", "--baseline=base.h5").exit_code == 1
    assert Path("base.h5").read_bytes() == Path("a.h5").read_bytes()
    # Judged against the old one, and then replaced.
    assert audit("b.h5", "--baseline=base.h5", "--update-baseline").exit_code == 1
    assert audit("b.h5", "--baseline=base.h5").exit_code == 0
    assert lla.read("base.h5", verify=True).checkpoint.path == "b.pt"
    refused = audit("a.h5", "b.h5", "--baseline=base.h5", "--update-baseline")
    assert refused.exit_code == 2
    assert "several targets" in refused.stderr
    Path("notes.txt").write_text("mine")
    assert audit("a.h5", "--baseline=notes.txt", "--update-baseline").exit_code == 5
    assert Path("notes.txt").read_text() == "mine"


def test_a_folder_of_baselines_beside_the_policy() -> None:
    Path("ci").mkdir()
    gate = REGRESSION.format(limits="{ max_increase_rel = 0.25 }")
    Path("ci/policy.toml").write_text(f'{gate}[defaults]\nbaseline = "base/"\n')
    options = ["--policy=ci/policy.toml"]
    assert audit("a.h5", "b.h5", *options, "--update-baseline").exit_code == 0
    assert sorted(path.name for path in Path("ci/base").iterdir()) == ["a.h5", "b.h5"]
    assert audit("a.h5", "b.h5", *options).exit_code == 0
    shutil.copy("b.h5", "ci/base/a.h5")
    found = read_json(audit("a.h5", "b.h5", *options, "--output=json").stdout)
    assert found["checkpoints"][0]["gates"][0]["measured"]["value"] == pytest.approx(-1 / 3)


def test_a_drafted_policy_passes_on_its_report() -> None:
    lla.write(small("c.pt", stability=build.stability(**build.calm())), "c.h5")
    Path("lla-policy.toml").unlink()
    done = audit("--init", "c.h5")
    assert done.exit_code == 0, done.stderr
    text = Path("lla-policy.toml").read_text()
    assert audit("c.h5", "--update-baseline").exit_code == 0
    found = read_json(audit("c.h5", "--output=json").stdout)
    assert found["exit_code"] == 0
    assert {gate["verdict"] for gate in found["checkpoints"][0]["gates"]} == {"pass"}
    ids = [gate["id"] for gate in found["checkpoints"][0]["gates"]]
    assert "hessian.lambda_max.regression" in ids
    assert "stability.gd" in ids
    # The limits in comments are those of what was measured, and valid as well.
    for line in ("max = 13.0", "max = 22.0", "# here 17.00 [16.50, 17.50] (95 %)"):
        assert line in text, line
    head, _, limits = text.partition("# Limits on values")
    active = "\n".join(line.removeprefix("# ") for line in limits.splitlines()[2:])
    Path("lla-policy.toml").write_text(f"{head}\n{active}\n")
    found = read_json(audit("c.h5", "--output=json").stdout)
    regressions = [name for name in ids if name.endswith(".regression")]
    assert found["counts"]["pass"] == len(ids) + len(regressions)
    assert audit("--init", "c.h5", "--force").exit_code == 0
    assert Path("lla-policy.toml").read_text() == text


def test_what_does_not_pass_is_drafted_as_a_comment() -> None:
    audit("--init", "a.h5", "--policy=new.toml")
    text = Path("new.toml").read_text()
    assert '# (this report does not pass it)\n# [[gate]]\n# id = "stability.b"' in text
    assert '\n[[gate]]\nid = "stability.a"' in text


def test_explanations() -> None:
    done = audit("--explain=sharpness", "b.h5")
    assert done.exit_code == 1
    assert done.stdout.startswith("sharpness (lla-policy.toml, line 1)\nasks for ")
    assert "above 12" in done.stdout


# A checkpoint at hand: analysed for what the gates need alone, and again where that may decide.


def quick(samples: Path, name: str = "digits_mlp.pt") -> list[str]:
    return [str(samples / name), "--set=data.limit=48", "--set=spectrum.steps=20", "-q"]


def test_a_checkpoint_is_analysed_for_what_its_gates_need(samples: Path) -> None:
    policy('[[gate]]\nid = "fits"\nmetric = "loss/value"\nmax = 1\n')
    done = audit(*quick(samples), "--output=json")
    assert done.exit_code == 0, done.stderr
    assert list(lla.read("digits_mlp.lla.h5").stages) == ["baseline"]
    found = read_json(done.stdout)["checkpoints"][0]
    assert found["report"] == "digits_mlp.lla.h5"
    assert found["further_runs"] == 0
    # From a folder of its own, for checkpoints of one name.
    Path("runs/one").mkdir(parents=True)
    for suffix in (".pt", ".toml"):
        shutil.copy(samples / f"digits_mlp{suffix}", f"runs/one/m{suffix}")
    shutil.copy(samples / "digits.npz", "runs/one")
    shutil.copy(samples / "models.py", "runs/one")
    done = audit("runs/*/*.pt", "--set=data.limit=48", "-q", "--reports=made")
    assert done.exit_code == 0, done.stderr
    assert Path("made/runs/one/m.lla.h5").is_file()


def test_a_loose_gate_is_tightened_within_the_budget(samples: Path) -> None:
    policy("[defaults]\nfurther_runs = 0\n" + GATE.replace("lambda_max", "trace") + "max = 1e9\n")
    assert audit(*quick(samples)).exit_code == 0
    trace = lla.read("digits_mlp.lla.h5").metrics["hessian/trace"]
    # Well inside the interval, and clear of what a narrower one gives.
    limit = f"max = {trace.low + 0.1 * (trace.high - trace.low)}\n"
    text = GATE.replace("lambda_max", "trace") + limit
    policy("[defaults]\nfurther_runs = 0\n" + text)
    loose = audit(*quick(samples), "--output=json")
    assert loose.exit_code == 4
    policy("[defaults]\nfurther_runs = 2\n" + text)
    done = audit(*quick(samples), "--output=json")
    found = read_json(done.stdout)["checkpoints"][0]
    assert found["further_runs"] >= 1
    again = found["gates"][0]["measured"]
    assert again["high"] - again["low"] < 0.67 * (trace.high - trace.low)
    # A further look is judged at what keeps all looks together at 95 %.
    assert found["gates"][0]["confidence"] == pytest.approx(0.975)
    assert lla.read("digits_mlp.lla.h5").metrics["hessian/trace"].value == again["value"]


@pytest.mark.long
def test_an_audit_that_is_stopped_goes_on(samples: Path) -> None:
    """Ctrl-C while a checkpoint is analysed: what is done is kept, and taken the next time."""
    import os
    import signal
    import subprocess
    import sys
    import time

    policy(GATE.replace("lambda_max", "trace") + "max = 1e9\n")
    command = [sys.executable, "-m", "lla_cli", "audit", str(samples / "digits_cnn.pt")]
    options = ["--set=data.limit=400", "--tolerance=0.002", "--set=spectrum.max_probes=3000"]
    # Its own process group, so that the signal reaches it alone.
    with subprocess.Popen(
        [*command, *options], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith("[2/2]"):
                break
        time.sleep(1.0)
        os.kill(running.pid, signal.SIGINT)
        rest = running.stderr.read()
    assert running.returncode == 130, rest
    assert "1 of 2 analyses is done and kept" in rest
    assert "go on with: lla audit" in rest
    assert not Path("digits_cnn.lla.h5").exists()
    done = subprocess.run(
        [*command, "--set=data.limit=400", "--tolerance=0.05"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "baseline: taken from an earlier run" in done.stderr
