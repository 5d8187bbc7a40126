"""What ``--dry-run`` prints of a plan where vectors are counted one by one."""

import json

import pytest
from lla_cli.dry_run import print_foresight

from lla.curvature.measuring import Costs
from lla.curvature.plan import Plan
from lla.curvature.ways import Way
from lla.foresight import Foresight
from lla.report import CheckpointFacts

GIB = 1 << 30


def foresight(**changes: object) -> Foresight:
    facts = CheckpointFacts(path="a.pt", sha256="0" * 64, format="torch", parameters=124_439_808)
    plan = Plan(
        chunk=4,
        graph=GIB,
        rows=13,
        memory=14 * GIB,
        predicted=13 * GIB,
        costs=Costs(1.0, 2.0, 6.0, 6.0),
        **changes,
    )
    return Foresight(facts, 4, plan, {"spectrum": (300.0, 400.0)})


def test_a_tight_plan_tells_its_phases(capsys: pytest.CaptureFixture[str]) -> None:
    phases = {"eigenvalues": 13 * GIB, "certificates": 12 * GIB, "trace": 512 << 20}
    found = foresight(
        tight=True,
        kept_rows=5,
        probe_rows=6,
        phases=phases,
        way=Way(recompute=("blocks.0", "blocks.1")),
    )
    print_foresight(found, as_json=False)
    told = capsys.readouterr().out
    for part in (
        "activations of 2 blocks computed again",
        "at most 13 vectors, in memory",
        "in the model's precision, because memory is tight",
        "5 of them held",
        "6 for each",
        "eigenvalues    13.0 GiB",
        "trace           512 MiB",
        "about 13.0 GiB at the peak, of 14.0 GiB",
    ):
        assert part in told
    print_foresight(found, as_json=True)
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["predicted_bytes_by_phase"] == phases
    assert plan["recomputed_blocks"] == ["blocks.0", "blocks.1"]


def test_any_other_plan_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    print_foresight(foresight(), as_json=False)
    told = capsys.readouterr().out
    assert "tight" not in told
    assert "computed again" not in told
    assert "eigenvalues" not in told
