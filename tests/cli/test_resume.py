"""Nothing that is finished is lost, nothing that is equal is computed again."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lla_cli.main import app
from torch import nn
from typer.testing import CliRunner, Result

import lla
import lla.analyses.saliency.run as saliency
from lla.analyses.landscape.evaluation import Linear
from lla.analyses.registry import available
from lla.report import storage
from lla.report.parts import Parts

ALL = [name for name, entry in available().items() if not entry.needs]
BEFORE = ALL.index("landscape")  # which is the one that is interrupted
NET = "nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(32, 3)"


def run(*arguments: str, command: str = "analyze") -> Result:
    words = [command, "m.pt", "--no-html", *arguments]
    sys.argv[:] = ["lla", *words]
    return CliRunner().invoke(app, words)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    Path("nets.py").write_text(
        f"from torch import nn\n\ndef net():\n    return nn.Sequential({NET})\n"
    )
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(32, 3))
    torch.save(net.state_dict(), "m.pt")
    images = np.random.default_rng(0).normal(size=(20, 1, 6, 6)).astype(np.float32)
    np.savez("d.npz", x=images, y=np.arange(20) % 3)
    Path("m.toml").write_text(
        "schema = 1\n[model]\nfactory = 'nets.py:net'\n[data]\nsource = 'd.npz'\n[training]\n"
        "lr = 0.1\nbatch_size = 5\nsamples = 20\n[run]\nmethod = 'reverse'\ntogether = 1\n"
        "[spectrum]\nsteps = 30\nprobes = 4\n[landscape]\npoints = 5\nworkers = 1\n[stability]\n"
        "max_batches = 12\n[sharpness]\nmax_pairs = 4\nmax_batches = 4\n[saliency]\nrandomize = 1\n"
    )


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the analyses that are computed rather than taken."""
    import lla.pipeline

    names: list[str] = []
    stage = lla.pipeline._stage

    def noted(entry: Any, *more: Any) -> Any:
        names.append(entry.name)
        return stage(entry, *more)

    monkeypatch.setattr(lla.pipeline, "_stage", noted)
    return names


def taken(names: list[str]) -> list[str]:
    found = list(names)
    names.clear()
    return found


@contextmanager
def broken(place: Any, name: str, error: BaseException, after: int = 0) -> Iterator[None]:
    """Within: a function raises once it has been called so many times."""
    calls, real = iter(range(after)), getattr(place, name)

    def fails(*arguments: Any, **more: Any) -> Any:
        if next(calls, None) is None:
            raise error
        return real(*arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, fails)
        yield


def numbers(path: str) -> dict[str, Any]:
    metrics = lla.read(path).metrics
    return {name: repr(dataclasses.asdict(value)) for name, value in metrics.items()}


def test_changed_settings_recompute_what_depends_on_them(computed: list[str]) -> None:
    assert run().exit_code == 0
    assert taken(computed) == ALL
    before = Path("m.lla.h5").read_bytes()
    done = run()
    assert taken(computed) == []
    assert "m.lla.h5 is up to date: nothing was computed" in done.stdout
    assert "baseline: taken from m.lla.h5" in done.stderr
    assert Path("m.lla.h5").read_bytes() == before
    done = run("--lr=0.2")
    assert taken(computed) == ["stability"]
    assert (
        "taken from m.lla.h5, unchanged: baseline, spectrum, sharpness, landscape, " in done.stdout
    )
    report = lla.read("m.lla.h5")
    assert report.metrics["stability/lr"].value == 0.2
    assert report.stages["stability"].settings["training"]["lr"] == 0.2
    (earlier,) = report.provenance["earlier"]
    assert earlier["stages"] == ["baseline", "landscape", "saliency", "sharpness", "spectrum"]
    assert "--lr=0.2" not in earlier["command"]
    assert "--lr=0.2" in report.provenance["command"]
    assert run("--set=spectrum.steps=31").exit_code == 0
    assert taken(computed) == ["spectrum", "stability", "sharpness", "landscape", "saliency"]
    assert run("--fresh").exit_code == 0
    assert taken(computed) == ALL
    assert not list(Path().glob("*.parts"))


def test_edited_code_is_another_network(computed: list[str]) -> None:
    assert run("--only=baseline").exit_code == 0
    text = Path("nets.py").read_text()
    Path("nets.py").write_text(text.replace("nn.Tanh()", "nn.Softsign()"))
    assert run("--only=baseline").exit_code == 0
    assert taken(computed) == ["baseline", "baseline"]
    Path("nets.py").write_text(text + "# a remark\n")
    assert run("--only=baseline").exit_code == 0
    assert run("--only=baseline").exit_code == 0
    assert taken(computed) == ["baseline"]


def test_one_analysis_joins_the_others(computed: list[str]) -> None:
    assert run(command="spectrum").exit_code == 0
    assert taken(computed) == ["baseline", "spectrum"]
    spectrum = numbers("m.lla.h5")
    done = run("--points=7", command="landscape")
    assert taken(computed) == ["landscape"]
    assert "still in m.lla.h5: spectrum" in done.stdout
    assert "hessian/trace" not in done.stdout
    found = numbers("m.lla.h5")
    assert list(lla.read("m.lla.h5").stages) == ["baseline", "spectrum", "landscape"]
    assert spectrum.items() < found.items()
    # Of another data set, seed or precision: beside it, and nothing is lost.
    done = run("--seed=1", command="saliency")
    assert done.exit_code == 0
    assert "m.lla.h5 is left as it is" in done.stdout
    assert numbers("m.lla.h5") == found
    assert list(lla.read("m.saliency.lla.h5").stages) == ["baseline", "saliency"]
    taken(computed)
    assert "up to date" in run("--seed=1", command="saliency").stdout
    assert taken(computed) == []
    document = json.loads(run("--json", "-q", command="saliency").stdout)
    assert list(document["stages"]) == ["baseline", "spectrum", "landscape", "saliency"]
    assert document["provenance"]["configuration"]["landscape"]["points"] == 7


def test_a_run_that_was_stopped_goes_on(computed: list[str]) -> None:
    assert run("-o", "whole.lla.h5").exit_code == 0
    taken(computed)
    with broken(Linear, "__call__", KeyboardInterrupt(), after=9):
        done = run("--set=run.together=1")
    assert done.exit_code == 130
    assert taken(computed) == ALL[: BEFORE + 1]
    reason, remedy = done.stderr.strip().splitlines()[-2:]
    assert reason == (
        f"lla: interrupted; no report was written; {BEFORE} of {len(ALL)} analyses are done and "
        "kept in m.lla.h5.parts"
    )
    assert remedy == "     go on with: lla analyze m.pt --no-html --set=run.together=1"
    done = run("--set=run.together=1")
    assert done.exit_code == 0, done.stderr
    assert taken(computed) == ALL[BEFORE:]
    assert "spectrum: taken from an earlier run" in done.stderr
    assert not list(Path().glob("*.parts"))
    assert numbers("m.lla.h5") == numbers("whole.lla.h5")
    # Without a Lanczos run: its eigenvectors were kept.
    work = lla.read("m.lla.h5").stages["landscape"].work
    assert "matvecs" not in work
    assert work["points"] >= 25


def test_points_of_a_plane_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("-o", "whole.lla.h5", command="landscape").exit_code == 0
    with broken(Linear, "__call__", KeyboardInterrupt(), after=20):
        assert run(command="landscape").exit_code == 130
    real, count = Linear.__call__, []
    monkeypatch.setattr(Linear, "__call__", lambda *a: count.append(1) or real(*a))
    assert run(command="landscape").exit_code == 0
    whole = lla.read("whole.lla.h5").results["landscape"]
    found = lla.read("m.lla.h5").results["landscape"]
    assert np.array_equal(found.surface.loss, whole.surface.loss)
    assert np.array_equal(found.surface.accuracy, whole.surface.accuracy)
    points = lla.read("whole.lla.h5").stages["landscape"].work["points"]
    # All but those of the grid that the first run had evaluated, behind those for the range.
    assert points - 20 <= len(count) < points - 8


@pytest.mark.long
def test_the_plan_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import lla.execution

    text = Path("m.toml").read_text()
    Path("m.toml").write_text(text.replace("method = 'reverse'\ntogether = 1\n", ""))
    with broken(saliency, "norm_grad", KeyboardInterrupt()):
        assert run().exit_code == 130
    monkeypatch.setattr(lla.execution, "make_plan", None)  # it cannot be called
    done = run()
    assert done.exit_code == 0, done.stderr
    assert run("--lr=3").exit_code == 0


@pytest.mark.long
def test_a_fresh_run_that_was_stopped_stays_fresh(computed: list[str]) -> None:
    assert run().exit_code == 0
    with broken(Linear, "__call__", KeyboardInterrupt()):
        done = run("--fresh")
    reason, remedy = done.stderr.strip().splitlines()[-2:]
    assert f"m.lla.h5 is as it was; {BEFORE} of {len(ALL)} analyses are done" in reason
    assert remedy.endswith("go on with: lla analyze m.pt --no-html")
    taken(computed)
    assert run().exit_code == 0
    assert taken(computed) == ALL[BEFORE:]
    assert run().exit_code == 0
    assert taken(computed) == []


@pytest.mark.long
def test_a_failed_analysis_is_tried_again(computed: list[str]) -> None:
    with broken(saliency, "norm_grad", RuntimeError("a bug")):
        assert run().exit_code == 70
    assert not list(Path().glob("*.parts"))
    taken(computed)
    with broken(saliency, "norm_grad", RuntimeError("a bug")):
        assert run().exit_code == 70
    assert taken(computed) == ["saliency"]
    assert run().exit_code == 0
    assert taken(computed) == ["saliency"]
    # A mistake of the user's ends the run; what was done before it is kept.
    assert run("--fresh", "--set=saliency.layers=['nothing']").exit_code == 2
    taken(computed)
    assert run().exit_code == 0
    assert taken(computed) == ["saliency"]


@pytest.mark.long
def test_damaged_parts_are_computed_again(computed: list[str]) -> None:
    assert run("-o", "whole.lla.h5").exit_code == 0
    with broken(saliency, "norm_grad", KeyboardInterrupt()):
        assert run().exit_code == 130
    for path in Path("m.lla.h5.parts").glob("*.h5"):
        if not path.name.startswith("plan"):
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(bytes(content))
    taken(computed)
    assert run().exit_code == 0
    assert taken(computed) == ALL
    assert numbers("m.lla.h5") == numbers("whole.lla.h5")


def test_a_second_writer_is_told_and_readers_are_not_disturbed(computed: list[str]) -> None:
    assert run("--only=baseline").exit_code == 0
    with Parts.opened(Path("m.lla.h5")):
        done = run("--only=baseline", "--seed=1")
        assert done.exit_code == 2
        reason, remedy = done.stderr.strip().splitlines()[-2:]
        assert f"m.lla.h5 is being written by process {os.getpid()} on " in reason
        assert "-o m-2.lla.h5" in remedy
        assert CliRunner().invoke(app, ["show", "m.lla.h5"]).exit_code == 0
        assert run("--only=baseline", "-o", "m-2.lla.h5").exit_code == 0


@pytest.mark.long
def test_a_full_disk_costs_the_parts_or_the_report_but_not_both(
    computed: list[str],
) -> None:
    full = OSError(28, "No space left on device")
    assert run("--only=baseline").exit_code == 0
    before = Path("m.lla.h5").read_bytes()
    with broken(os, "replace", full):  # nothing can be kept, and the report not be written
        done = run()
    assert done.exit_code == 5
    assert done.stderr.count("lla: what is finished cannot be kept in m.lla.h5.parts") == 1
    assert "the report m.lla.h5 cannot be written: No space left on device" in done.stderr
    assert Path("m.lla.h5").read_bytes() == before
    assert not list(Path().glob("*.parts"))
    with broken(storage, "replacing", full):  # it fills up before the report
        done = run()
    assert done.exit_code == 5
    assert (
        f"m.lla.h5 is as it was; {len(ALL)} of {len(ALL)} analyses are done and kept" in done.stderr
    )
    assert "make room there, then go on with: lla analyze m.pt" in done.stderr
    assert Path("m.lla.h5").read_bytes() == before
    taken(computed)
    assert run().exit_code == 0
    assert taken(computed) == []
    assert set(lla.read("m.lla.h5").results) == set(ALL)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    computed: list[str], number: int
) -> None:
    Path("closed").mkdir()
    if os.geteuid():  # the superuser may write everywhere
        Path("closed").chmod(0o500)
    with broken(os, "mkdir", OSError(number, os.strerror(number))):
        done = run("-o", "closed/m.lla.h5")
    assert done.exit_code == 5
    assert f"the report closed/m.lla.h5 cannot be written: {os.strerror(number)}" in done.stderr
    assert computed == []
    assert os.listdir("closed") == []


def test_from_python(computed: list[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, data = nn.Linear(4, 3), (torch.rand(9, 4), torch.arange(9) % 3)
    only = ["baseline", "landscape"]
    first = lla.analyze(net, data, only=only, resume="r.h5", settings={"landscape": {"points": 3}})
    assert taken(computed) == only
    again = lla.analyze(net, data, only=only, resume="r.h5", settings={"landscape": {"points": 4}})
    assert taken(computed) == ["landscape"]
    assert first.path == again.path == "r.h5"
    assert lla.read("r.h5").results["landscape"].surface.loss.shape == (4, 4)
    with torch.no_grad():
        net.bias += 1
    lla.analyze(net, data, only=only, resume="r.h5")
    assert taken(computed) == only


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once(number: signal.Signals) -> None:
    Path("slow.py").write_text(
        "import time\nfrom torch import nn\n\ndef loss(output, target):\n"
        "    time.sleep(0.5)\n    return nn.functional.cross_entropy(output, target)\n"
    )
    command = [sys.executable, "-m", "lla_cli", "analyze", "m.pt", "--loss=slow.py:loss"]
    with subprocess.Popen(
        [*command, "--set=data.batch_size=1"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "baseline" in line:
                break
        begun = time.monotonic()
        process.send_signal(number)
        for line in process.stderr:
            if "finishing the product in hand" in line:
                break
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(60) == 128 + number
        assert time.monotonic() - begun < 9  # one evaluation of the 20 samples takes ten seconds
    assert "nothing was done yet that could be kept" in rest
    assert "run it again: " in rest
    assert not list(Path().glob("*.h5*"))


def killed(folder: Path, way: str, count: int) -> dict[str, int]:
    script = Path(__file__).parent / "killing.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder / "trial"), way, str(count)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_ten_kills_lose_no_report(tmp_path: Path) -> None:
    found = killed(tmp_path, "random", 10)
    assert found["old"] + found.get("new", 0) >= 10
    assert found["through"] >= 1


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_hundred_kills_lose_no_report(tmp_path: Path) -> None:
    found = killed(tmp_path, "random", 200)
    assert found["old"] + found.get("new", 0) >= 200
    assert sum(found.get(f"{stages} stages", 0) > 0 for stages in range(6)) >= 4


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_kill_at_any_change_of_a_file_loses_no_report(tmp_path: Path) -> None:
    found = killed(tmp_path, "calls", 3)
    assert found["old"] > 20
    assert found["new"] >= 1
    assert all(found[f"{stages} stages"] for stages in (0, 1, 2, 3, 4, 5))
