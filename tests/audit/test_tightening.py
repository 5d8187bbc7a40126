"""What a further run is told, and when there is one."""

from dataclasses import replace
from datetime import date

import pytest

from lla.audit import parse_policy
from lla.audit.evidence import Evidence
from lla.audit.judging import judge
from lla.audit.metrics import analyses_of
from lla.audit.tightening import settled, tighter
from lla.estimate import Estimate
from tests.audit.test_verdicts import RATES, about, judged, unconverged
from tests.comparing.test_comparison import report
from tests.plots import build

TODAY = date(2027, 1, 1)
CONFIGURATION = {
    "run": {"tolerance": 0.02, "confidence": 0.95},
    "spectrum": {"max_probes": 200, "max_steps": 300, "steps": 100, "probes": 10,
                 "residual_tolerance": 0.0},
    "stability": {"max_batches": 100, "batch_tolerance": 0.02, "edge": 0.05},
}  # fmt: skip


def gate(metric, limit, more=""):
    return f'[[gate]]\nid = "it"\nmetric = "{metric}"\n{limit}\n{more}'


def told(text, made, base=None):
    """The sections of a further run; None if there is none."""
    policy = parse_policy(text)
    evidence = Evidence("it", made, baseline=base, runnable=True)
    loose = [one for one in judge(policy, evidence, TODAY) if one.loose]
    return tighter(made, loose, policy) if loose else None


def made(**spectrum):
    return report(spectrum=build.spectrum(**spectrum), configuration=CONFIGURATION)


def test_the_tolerance_falls_by_what_is_needed() -> None:
    """17 ± 0.5: half as wide clears a limit 0.36 away; a quarter is the most at once."""
    found = told(gate("hessian/trace", "max = 17.36"), made())
    assert found["run"]["tolerance"] == pytest.approx(0.02 / (0.5 / (0.7 * 0.36)))
    assert found["spectrum"]["max_probes"] == 200 * 4  # samples go with the square, up to that
    found = told(gate("hessian/trace", "max = 17.01"), made())
    assert found["run"]["tolerance"] == pytest.approx(0.005)
    assert found["spectrum"] == {"max_probes": 200 * 16}


def test_what_has_not_converged_gets_more_steps() -> None:
    found = told(gate("hessian/lambda_max", "max = 99"), made(lambda_max=unconverged(10)))
    assert found["spectrum"]["max_steps"] >= 600
    assert "max_probes" not in found["spectrum"]


def test_a_joint_confidence_is_made_up_for() -> None:
    """Two intervals at 95 % that hold together at 90 %: each at 97.5 %."""
    joined = Estimate(10, 9, 11, 0.9)
    found = told(gate("hessian/lambda_max", "max = 99"), made(lambda_max=joined))
    assert found["run"]["confidence"] == pytest.approx(0.975, abs=1e-4)
    assert found["run"]["confidence"] > 0.975
    more = gate("hessian/trace", "max = 17", "[defaults]\nfurther_runs = 2\n")
    assert told(more, made())["run"]["confidence"] == pytest.approx(0.975)


def test_what_no_further_run_can_mend() -> None:
    assert told(gate("hessian/trace", "max = 99"), made()) is None
    assert told(gate("hessian/lambda_max", "max = 9"), made(lambda_max=Estimate.missing("no"))) is (
        None
    )
    text = gate("hessian/lambda_max", "baseline = { max_increase = 1 }")
    other = report("old.pt", configuration=CONFIGURATION, dtype="float64")
    assert told(text, made(), other) is None
    # The baseline's own eigenvalue has not converged: it is as it is.
    base = report("old.pt", spectrum=build.spectrum(lambda_max=unconverged(10)))
    assert told(text, made(), base) is None
    assert told(text, made(lambda_max=unconverged(10)), report("old.pt")) is not None


def test_a_verdict_asks_the_analyses_behind_it() -> None:
    straddling = report(stability=judged(RATES["straddle"]), configuration=CONFIGURATION)
    found = told('[[gate]]\nid = "it"\nverdict = "stability.gd"\n', straddling)
    assert found["stability"] == {"max_batches": 1600, "batch_tolerance": 0.005}
    assert found["spectrum"]["max_probes"] == 3200
    assert "residual_tolerance" not in found["spectrum"]  # 0 is by the dtype


class Runs:
    """Counts runs; each is twice as narrow."""

    def __init__(self) -> None:
        self.sections: list[object] = []

    def __call__(self, sections):
        self.sections.append(sections)
        trace = about(17, 0.5 / 2 ** (len(self.sections) - 1))
        return made(trace=replace(trace, confidence=sections["run"]["confidence"]))


@pytest.mark.parametrize(
    ("limit", "more", "runs"),
    [
        ("max = 20", "", 1),
        ("max = 17.3", "", 2),  # 17 ± 0.25 is enough
        ("max = 17.001", "", 2),  # the budget's default is one further run
        ("max = 17.001", "[defaults]\nfurther_runs = 0\n", 1),
        ("max = 17.001", "[defaults]\nfurther_runs = 4\n", 5),
        ("max = 17.2", "[defaults]\nfurther_runs = 4\n", 3),
        ("max = 17.001", 'severity = "warning"\n', 1),  # not for a warning's sake
        ("max = 17.1", '[[waiver]]\ngate = "it"\nreason = "r"\nexpires = 2027-02-01\n', 1),
    ],
)
def test_the_budget(limit, more, runs) -> None:
    policy = parse_policy(gate("hessian/trace", limit, more))
    counted = Runs()
    evidence = settled(
        policy,
        counted,
        policy.gates,
        lambda made, index: Evidence("it", made, further=index, runnable=True),
        TODAY,
    )
    assert len(counted.sections) == runs
    assert evidence.further == runs - 1
    assert counted.sections[0]["run"]["only"] == ("spectrum",)
    assert all(one["run"]["only"] == ("spectrum",) for one in counted.sections)


def test_the_analyses_that_gates_need() -> None:
    policy = parse_policy(
        '[[gate]]\nid = "a"\nverdict = "stability.gd"\n'
        '[[gate]]\nid = "b"\nmetric = "loss/value"\nmax = 1\n'
        '[[gate]]\nid = "c"\nmetric = "hessian/trace"\nmax = 1\n'
    )
    assert analyses_of(policy.gates) == ("baseline", "spectrum", "stability")
    assert analyses_of(policy.gates[:1]) == ("stability",)
