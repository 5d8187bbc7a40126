"""The ready-made files for CI: valid by their services' schemas, and their commands run."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

import lla
from tests.audit.reading import data_of, read_github, read_junit, read_markdown, read_sarif
from tests.comparing.test_comparison import report

CI = Path(__file__).parent.parent.parent / "docs/ci"
ROOT = CI.parent.parent
POLICY = '[[gate]]\nid = "fits"\nmetric = "loss/value"\nmax = {}\n'


def loaded(name):
    return yaml.safe_load((CI / name).read_text())


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a policy and a report, and ``lla`` as a command."""
    monkeypatch.chdir(tmp_path)
    Path("reports").mkdir()
    lla.write(report(landscape=None, saliency=None), "reports/a.lla.h5")
    Path("lla-policy.toml").write_text(POLICY.format(1))
    Path("bin").mkdir()
    command = Path("bin/lla")
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lla_cli "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def shell(script: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a step as the services do: bash, that stops at the first failure."""
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, **more},
    )


def installs(script: str) -> None:
    """Every pip line names torch or this distribution, whose name is not the command's."""
    lines = [line for line in script.splitlines() if "pip install" in line]
    assert [re.search(r"install (?:--\S+ )*(\S+)", line).group(1) for line in lines] == [
        "torch", "loss-landscape-lla"
    ]  # fmt: skip
    from tomllib import loads

    assert loads((ROOT / "pyproject.toml").read_text())["project"]["name"] == "loss-landscape-lla"


@pytest.mark.parametrize(
    ("name", "schema"),
    [("github-actions.yml", "github-workflows"), ("gitlab-ci.yml", "gitlab-ci")],
)
def test_by_the_services_own_schemas(name: str, schema: str) -> None:
    path = data_of("check_jsonschema", f"builtin_schemas/vendor/{schema}.json")
    if path is None:
        pytest.skip("check-jsonschema, which ships the schemas, is not installed")
    found = json.loads(path.read_text())
    # YAML 1.1 reads the key "on" as true; JSON has texts alone.
    text = json.dumps(loaded(name)).replace('"true": {"pull', '"on": {"pull')
    kind = jsonschema.validators.validator_for(found)
    kind(found).validate(json.loads(text))


@pytest.mark.long
def test_the_workflow(samples: Path, repository: Path) -> None:
    """On a checkpoint, with its recipe beside it."""
    job = loaded("github-actions.yml")["jobs"]["audit"]
    steps = {step.get("name", step.get("uses")): step for step in job["steps"]}
    installs(steps["Install"]["run"])
    Path("models").mkdir()
    for name in ("digits_mlp.pt", "digits.npz", "models.py"):
        shutil.copy(samples / name, "models")
    recipe = (samples / "digits_mlp.toml").read_text()
    Path("models/digits_mlp.toml").write_text(recipe.replace("[data]", "[data]\nlimit = 48"))
    for limit, code in ((1, 0), (1e-9, 1)):
        Path("lla-policy.toml").write_text(POLICY.format(limit))
        done = shell(steps["Audit"]["run"], GITHUB_STEP_SUMMARY="summary.md")
        assert done.returncode == code, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("::")]
    (annotation,) = read_github("\n".join([*lines, ""]))
    assert annotation[1]["file"] == "lla-policy.toml"
    assert len(read_markdown(Path("summary.md").read_text())) == 4
    # What the other steps take is what this one makes.
    read_sarif(Path(steps["Alerts"]["with"]["sarif_file"]).read_text())
    for path in steps["Keep what was measured"]["with"]["path"].split():
        assert Path(path).exists()
    read_junit(Path("lla-audit.xml").read_text())
    assert Path("reports/models/digits_mlp.lla.h5").is_file()


def test_the_gitlab_job() -> None:
    job = loaded("gitlab-ci.yml")["lla-audit"]
    installs("\n".join(job["before_script"]))
    done = shell("\n".join(job["script"]))
    assert done.returncode == 0, done.stderr
    read_junit(Path(job["artifacts"]["reports"]["junit"]).read_text())
    (path,) = job["artifacts"]["paths"]
    assert read_markdown(Path(path).read_text())[1][0] == "fits"
    Path("lla-policy.toml").write_text(
        '[[gate]]\nid = "it"\nmetric = "hessian/lambda_max"\nmax = 10\n'
    )
    assert shell("\n".join(job["script"])).returncode in job["allow_failure"]["exit_codes"]


def test_the_hook() -> None:
    (hook,) = loaded("pre-commit-config.yaml")["repos"][0]["hooks"]
    assert re.search(hook["files"], "reports/a.lla.h5")
    assert not re.search(hook["files"], "models/a.pt")
    assert re.search(hook["exclude"], "lla-baselines/a.lla.h5")
    assert not re.search(hook["exclude"], "reports/a.lla.h5")
    done = shell(f"{hook['entry']} reports/a.lla.h5")
    assert done.returncode == 0, done.stderr
    Path("lla-policy.toml").write_text(POLICY.format(0.001))
    assert shell(f"{hook['entry']} reports/a.lla.h5").returncode == 1


def test_the_container() -> None:
    text = re.sub(r"\\\n", "", (CI / "Containerfile").read_text())
    lines = [line.partition(" ") for line in text.splitlines() if line and line[0] != "#"]
    known = ("FROM", "RUN", "USER", "WORKDIR", "ENTRYPOINT", "CMD")
    told = {name: value for name, _, value in lines}
    assert [name for name, *_ in lines] == list(known)
    installs(told["RUN"].replace("&&", "\n"))
    assert told["USER"] in told["RUN"]  # not root
    command = [*json.loads(told["ENTRYPOINT"]), *json.loads(told["CMD"])]
    done = subprocess.run(command, capture_output=True, text=True)  # no shell expands the glob
    assert done.returncode == 0, done.stderr
    for word in ("-f docs/ci/Containerfile", '"models/*.pt"'):
        assert word in text
