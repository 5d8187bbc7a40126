"""A batch's folder: what is done before and what not, what cannot be begun, one batch at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lla.batch.batch import Batch, Terms
from lla.batch.executors.executor import Executor
from lla.batch.job import Ended, Job, Outcome
from lla.batch.wanted import Wanted, meant_by
from lla.errors import ConfigurationError, ReportError, ReportInUseError
from lla.report import CheckpointFacts, Report, Stage
from lla.report.storage import write

NAMES = ["m-1", "m-2", "m-3"]


class Writing(Executor):
    """Writes reports without computing any; ends a job as it is told to, by name."""

    name = "writing"
    slots = 1

    def __init__(self, outcomes: dict[str, Outcome] | None = None) -> None:
        self.outcomes = outcomes or {}
        self.jobs: list[Job] = []
        self._in_hand: list[Job] = []

    def start(self, job: Job) -> None:
        self.jobs.append(job)
        self._in_hand.append(job)

    def poll(self, seconds: float) -> Sequence[Ended]:
        job = self._in_hand.pop()
        outcome = self.outcomes.get(job.name, Outcome("done", 1.0))
        if outcome.status == "done":
            facts = CheckpointFacts(job.checkpoint, "0" * 64, "torch", 3)
            write(Report(facts, {}, {"baseline": Stage("done", 1.0)}, {}, {}), job.report)
        return [Ended(job, outcome)]

    def cancel(self, grace: float) -> Sequence[Ended]:
        ended = [Ended(job, None, "by force") for job in self._in_hand]
        self._in_hand.clear()
        return ended

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        (tmp_path / f"{name}.pt").write_bytes(b"\x80\x02 weights " + name.encode())
    (tmp_path / "d.npz").write_bytes(b"data")
    (tmp_path / "nets.py").write_text("def net(): ...\n")
    (tmp_path / "lla.toml").write_text(
        'schema = 1\n[model]\nfactory = "nets.py:net"\n[data]\nsource = "d.npz"\n'
    )
    monkeypatch.chdir(tmp_path)


TERMS = Terms({}, {})


def run(
    wanted: Sequence[Wanted] | None = None,
    terms: Terms = TERMS,
    executor: Writing | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[list[str], Batch]:
    """The names of the jobs that were begun, and the batch."""
    executor = executor or Writing()
    found = meant_by(["m-*.pt"]) if wanted is None else wanted
    with Batch.opened(found, Path("out"), terms, tell=pytest.fail) as batch:
        batch.run(executor, retries=0, tick=lambda row: None, stop=stop)
    return [job.name for job in executor.jobs], batch


def flags(**run: Any) -> Terms:
    return Terms({"run": run}, {})


def test_done_before_is_not_done_again() -> None:
    begun, batch = run()
    assert begun == NAMES
    assert [row.state for row in batch.rows] == ["done"] * 3
    assert batch.exit_code == 0
    begun, batch = run()
    assert begun == []
    assert [row.state for row in batch.rows] == ["skipped"] * 3
    assert batch.exit_code == 0


def everything() -> dict[str, bytes | None]:
    """All files of this folder and what is in them, and all folders."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}


def test_looking_ahead_makes_and_changes_nothing() -> None:
    before = everything()
    batch = Batch.foreseen(meant_by(["m-*.pt"]), Path("deep/out"), TERMS)
    assert [row.state for row in batch.rows] == ["waiting"] * 3
    assert everything() == before
    run(meant_by(["m-1.pt", "m-2.pt"]))
    with Path("out/jobs/journal.jsonl").open("a") as stream:
        stream.write('{"cut short')
    before = everything()
    with Batch.opened(meant_by(["m-1.pt"]), Path("out"), TERMS, tell=pytest.fail):
        batch = Batch.foreseen(meant_by(["m-*.pt"]), Path("out"), TERMS)
    assert [row.state for row in batch.rows] == ["skipped", "skipped", "waiting"]
    assert everything() == before, "not even the journal's last line"
    run(meant_by(["m-3.pt"]))
    assert run()[0] == [], "what was cut short is not glued to what follows"


@pytest.mark.parametrize("folder", ["m-1.pt", "m-1.pt/out"])
def test_looking_ahead_tells_of_a_folder_that_cannot_be(folder: str) -> None:
    with pytest.raises(ReportError, match=r"m-1\.pt is no folder") as told:
        Batch.foreseen(meant_by(["m-*.pt"]), Path(folder), TERMS)
    assert "-o FOLDER" in told.value.remedy


def changed(name: str, text: str) -> Callable[[], None]:
    return lambda: Path(name).write_text(text) and None


def recipe(text: str) -> Callable[[], None]:
    return lambda: Path("lla.toml").write_text(f"{Path('lla.toml').read_text()}{text}\n") and None


@pytest.mark.parametrize(
    ("change", "terms", "again"),
    [
        pytest.param(lambda: os.utime("m-2.pt", (1, 1)), TERMS, [], id="time"),
        pytest.param(lambda: None, flags(memory="1GiB"), [], id="memory"),
        pytest.param(lambda: None, replace(TERMS, threads=7), [], id="threads"),
        pytest.param(lambda: None, replace(TERMS, timeout=7.0), [], id="timeout"),
        pytest.param(recipe("# a remark"), TERMS, [], id="remark"),
        pytest.param(recipe("[run]\nseed = 0"), TERMS, [], id="default, stated"),
        pytest.param(
            lambda: Path("m-2.pt").write_bytes(b"\x80\x02 other"), TERMS, NAMES[1:2], id="weights"
        ),
        pytest.param(lambda: Path("out/m-3.lla.h5").unlink(), TERMS, NAMES[2:], id="report gone"),
        pytest.param(changed("d.npz", "other"), TERMS, NAMES, id="data"),
        pytest.param(changed("nets.py", "def net(): 1\n"), TERMS, NAMES, id="code"),
        pytest.param(recipe("[run]\nseed = 1"), TERMS, NAMES, id="recipe"),
        pytest.param(lambda: None, flags(seed=1), NAMES, id="flag"),
        pytest.param(lambda: None, Terms({}, {"LLA_SEED": "1"}), NAMES, id="variable"),
        pytest.param(lambda: None, flags(only=["spectrum"]), NAMES, id="selection"),
        pytest.param(lambda: None, replace(TERMS, fresh=True), NAMES, id="fresh"),
    ],
)
def test_what_makes_a_report_out_of_date(
    change: Callable[[], None], terms: Terms, again: list[str]
) -> None:
    run()
    change()
    begun, _ = run(terms=terms)
    assert begun == again
    assert run(terms=replace(terms, fresh=False))[0] == [], "and then it is up to date"


def test_another_version_computes_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    monkeypatch.setattr("lla.batch.digests.__version__", "99")
    assert run()[0] == NAMES


def test_an_entry_of_a_manifest_has_its_own_settings() -> None:
    wanted = meant_by(["m-*.pt"])
    wanted[1] = replace(wanted[1], values={"run": {"seed": 5}, "data": {"limit": 7}})
    executor = Writing()
    run(wanted, Terms({"data": {"source": "d.npz"}}, {"LLA_TOLERANCE": "0.5"}), executor)
    first, second, _ = (job.flags for job in executor.jobs)
    assert first["run"]["tolerance"] == second["run"]["tolerance"] == 0.5, "variables go along"
    assert "seed" not in first["run"]
    assert second["run"]["seed"] == 5
    assert second["data"]["limit"] == 7
    wanted[1] = replace(wanted[1], values={"run": {"seed": 6}})
    begun, _ = run(wanted, Terms({"data": {"source": "d.npz"}}, {"LLA_TOLERANCE": "0.5"}))
    assert begun == ["m-2"]


def test_what_cannot_begin_is_told_and_the_rest_finished() -> None:
    Path("m-2.pt").write_bytes(b"plain text")
    wanted = [*meant_by(["m-*.pt"]), Wanted("gone.pt", origin="m.csv, line 4")]
    begun, batch = run(wanted)
    assert begun == ["m-1", "m-3"]
    states = {row.job.name: row for row in batch.rows}
    assert states["m-2"].state == states["gone"].state == "failed"
    for name, said in (("m-2", "not a checkpoint"), ("gone", "no file gone.pt (m.csv, line 4)")):
        record = states[name].record
        assert record
        assert said in record.outcome.reason
        assert record.outcome.remedy
    assert batch.exit_code == 5


def test_the_gravest_exit_code_is_the_batchs() -> None:
    def failed(code: int) -> Outcome:
        return Outcome("failed", 1.0, "why", "what next", code)

    for codes, expected in (((2, 5, 0), 5), ((3, 2, 0), 2), ((2, 70, 5), 70), ((0, 0, 3), 3)):
        outcomes = {n: failed(c) for n, c in zip(NAMES, codes, strict=True) if c}
        _, batch = run(terms=replace(TERMS, fresh=True), executor=Writing(outcomes))
        assert batch.exit_code == expected, codes


def test_failures_are_tried_again_by_the_next_batch() -> None:
    wrong = Outcome("failed", 1.0, "the disk is full", "make room", 5)
    assert run(executor=Writing({"m-2": wrong}))[1].exit_code == 5
    begun, batch = run()
    assert begun == ["m-2"]
    assert batch.exit_code == 0


def test_stopped_and_gone_on_with() -> None:
    executor = Writing()
    begun, batch = run(executor=executor, stop=lambda: len(executor.jobs) == 2)
    assert begun == ["m-1", "m-2"]
    assert [row.state for row in batch.rows] == ["done", "done", "waiting"]
    assert run()[0] == ["m-3"]


def test_going_on_with_a_fresh_batch_takes_nothing_from_before_it() -> None:
    run()
    executor = Writing()
    fresh = replace(TERMS, fresh=True)
    run(terms=fresh, executor=executor, stop=lambda: len(executor.jobs) == 1)
    assert [job.name for job in executor.jobs] == ["m-1"]
    again = Writing()
    assert run(executor=again)[0] == ["m-2", "m-3"]
    assert all(job.fresh for job in again.jobs), "the old reports are not to be taken"


class Refusing(Writing):
    """Could never carry out what it is asked to."""

    def prepare(self, jobs: Sequence[Job]) -> None:
        self.asked = [job.name for job in jobs]
        raise ConfigurationError("there is no such device", "use another")


def test_what_could_never_be_carried_out_is_not_begun() -> None:
    run(meant_by(["m-1.pt"]))
    before, refusing = everything(), Refusing()
    for terms in (TERMS, replace(TERMS, fresh=True)):
        with pytest.raises(ConfigurationError, match="no such device"):
            run(terms=terms, executor=refusing)
        assert everything() == before, "nothing is to be computed anew that was not begun"
    assert refusing.asked == NAMES
    assert refusing.jobs == []
    assert run(meant_by(["m-1.pt"]), executor=Refusing())[0] == [], "it is not asked for nothing"


def test_what_killed_workers_said_is_swept() -> None:
    run(meant_by(["m-1.pt"]))
    left = Path("out/jobs/progress/.m-1.json.4711")
    left.write_text("{")
    run(meant_by(["m-1.pt"]))
    assert not left.exists()


def test_one_batch_at_a_time() -> None:
    with (
        Batch.opened(meant_by(["m-1.pt"]), Path("out"), TERMS, tell=pytest.fail),
        pytest.raises(ReportInUseError, match="out is being written by process") as told,
        Batch.opened(meant_by(["m-2.pt"]), Path("out"), TERMS, tell=pytest.fail),
    ):
        pytest.fail("two at once")
    assert told.value.exit_code == 2
    assert "-o FOLDER" in told.value.remedy
    assert run()[0] == NAMES, "the lock is given up"


def test_a_wrong_setting_for_all_is_no_failure_of_each() -> None:
    with pytest.raises(ConfigurationError, match="unknown key 'sede'"):
        run(terms=flags(sede=1))
    assert not Path("out").exists()


def test_the_report_of_another_checkpoint_is_not_replaced() -> None:
    run([Wanted("m-1.pt", name="best")])
    begun, batch = run([Wanted("m-2.pt", name="best")])
    assert begun == []
    record = batch.rows[0].record
    assert record
    assert "report of another checkpoint" in record.outcome.reason


def test_planning_loads_nothing_heavy() -> None:
    """A batch of thousands is planned, and looked at, by a process without torch."""
    import subprocess
    import sys

    script = (
        "import sys; from pathlib import Path\n"
        "from lla.batch.batch import Batch, Terms\nfrom lla.batch.wanted import meant_by\n"
        "import lla.batch.executors.executor, lla.batch.manifest\n"
        "with Batch.opened(meant_by(['m-*.pt']), Path('out'), Terms({}, {}), tell=print) as b:\n"
        "    assert [row.state for row in b.rows] == ['waiting'] * 3, b.rows\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
