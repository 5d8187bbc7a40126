"""What may be compared with what, what came out, and how it is written down."""

import json
import math
import re
from dataclasses import dataclass, replace

import jsonschema
import numpy as np
import pytest

import lla
from lla.analyses import registry
from lla.analyses.analysis import Analysis, Config
from lla.analyses.fields import metric
from lla.comparing import document, gate, markdown, schema
from lla.comparing.wording import notes
from lla.errors import ConfigurationError
from lla.estimate import Estimate, Label, Verdict
from lla.report import Stage
from tests.plots import build

TRAINING = {"optimizer": "sgd", "momentum": 0.0, "batch_size": 64, "samples": 1437}


def report(path="a.pt", seed=0, configuration=None, data=None, dtype="float32", **results):
    made = build.report(path, **results)
    told = {
        "loss": {"name": "cross_entropy", "args": {}},
        "training": TRAINING,
        "spectrum": {"nodes": 20, "probes": 10, "steps": 100},
        "landscape": {"points": 31, "residual": 0.1},
        "run": {"params": []},
        **(configuration or {}),
    }
    provenance = {
        **made.provenance,
        "settings": {"seed": seed, "dtype": dtype, "confidence": 0.95},
        "configuration": told,
        "data": {**made.provenance["data"], **(data or {})},
    }
    stages = {name: Stage("done", 1.0) for name in made.results}
    return replace(made, path=path.replace(".pt", ".h5"), provenance=provenance, stages=stages)


def sharper(by, half=0.01, **changes):
    return build.spectrum(lambda_max=build.certified(10.0 + by, half), **changes)


def test_the_same_report_twice() -> None:
    found = lla.compare(report(), report("b.pt"))
    assert found.same_checkpoint
    assert found.obstacles == ()
    assert {change.outcome for change in found.changes} <= {
        "equal", "not_shown", "not_comparable", "missing"
    }  # fmt: skip
    assert found["hessian/lambda_max"].outcome == "not_shown"
    assert found["loss/value"].outcome == "equal"
    assert {words.outcome for words in (*found.verdicts, *found.labels)} == {"equal"}
    assert gate([found]).status == "inconclusive"  # the batch sharpness has not converged


def test_a_larger_eigenvalue() -> None:
    found = lla.compare(report(), report("b.pt", spectrum=sharper(0.03)))
    change = found["hessian/lambda_max"]
    assert change.outcome == "larger"
    assert (change.difference.low, change.difference.high) == pytest.approx((0.01, 0.05))
    assert change.difference.confidence == 1.0
    assert change.relative.value == pytest.approx(0.003)
    # Within the two residuals there is no difference to be seen.
    assert lla.compare(report(), report("b.pt", spectrum=sharper(0.019)))[
        "hessian/lambda_max"
    ].outcome == "not_shown"  # fmt: skip


def test_one_seed_or_two() -> None:
    """17 ± 0.5 and 17.8 ± 0.5: larger than √½, not than 1."""
    other = build.spectrum(trace=build.sampled(17.8))
    same = lla.compare(report(), report("b.pt", spectrum=other))
    assert same.shared_draws
    assert same["hessian/trace"].outcome == "not_shown"
    apart = lla.compare(report(), report("b.pt", seed=1, spectrum=other))
    assert not apart.shared_draws
    assert apart["hessian/trace"].outcome == "larger"
    assert apart["hessian/trace"].difference.confidence == 0.95


CURVATURE = ("hessian/lambda_max", "hessian/trace", "stability/gd_max_lr")


@pytest.mark.parametrize(
    ("change", "name", "refused", "kept"),
    [
        ({"data": {"sha256": "cafe"}}, "data", ("loss/value", *CURVATURE), ("stability/lr",)),
        ({"data": {"sha256": ""}}, "data", ("loss/value",), ("stability/batch_size",)),
        (
            {"configuration": {"loss": {"name": "mse", "args": {}}}},
            "loss",
            ("loss/value", "loss/accuracy", *CURVATURE),
            (),
        ),
        ({"dtype": "float64"}, "dtype", ("loss/value", *CURVATURE), ()),
        (
            {"spectrum": build.spectrum(operator=Label("ggn", "Gauss–Newton"))},
            "operator",
            ("hessian/lambda_max", "hessian/K_H1"),
            ("loss/value", "stability/gd_max_lr"),
        ),
        (
            {
                "spectrum": build.spectrum(
                    layers=replace(build.spectrum().layers, parameters=np.array([50, 50]))
                )
            },
            "network",
            ("loss/gradient_norm", *CURVATURE),
            ("loss/value", "loss/accuracy"),
        ),
        (
            {"configuration": {"training": {**TRAINING, "batch_size": 8}}},
            "settings",
            ("stability/batch_sharpness", "stability/sgd_max_lr"),
            ("hessian/lambda_max", "stability/gd_max_lr"),
        ),
        (
            {"configuration": {"training": {**TRAINING, "momentum": 0.9}}},
            "settings",
            ("stability/gd_max_lr",),
            ("hessian/lambda_max", "stability/batch_sharpness"),
        ),
        # Settings that only narrow an interval are no obstacle.
        (
            {"configuration": {"spectrum": {"nodes": 20, "probes": 99, "steps": 300}}},
            "settings",
            ("hessian/K_H0.5",),
            ("hessian/lambda_max", "hessian/trace", "hessian/K_H1", "loss/value"),
        ),
    ],
)
def test_what_is_not_comparable(change, name, refused, kept) -> None:
    other = report("b.pt", **change)
    found = lla.compare(report(), other)
    assert {fact.name for fact in found.obstacles} == {name}
    for path in refused:
        assert found[path].outcome == "not_comparable", path
        assert not found[path].difference.exists
        assert found[path].why
        assert found[path].obstacles
    for path in kept:
        assert found[path].outcome != "not_comparable", path
    allowed = lla.compare(report(), other, across=[name])
    assert not allowed.obstacles
    assert {fact.name for fact in allowed.crossed} == {name}
    for path in set(refused) - {"hessian/K_H0.5"}:
        assert allowed[path].outcome != "not_comparable", path


def test_data_without_a_digest_is_not_known_to_be_the_same() -> None:
    unknown = report(data={"sha256": ""})
    assert lla.compare(unknown, unknown)["loss/value"].outcome == "not_comparable"


@pytest.mark.parametrize("told", [{"landscape": {"points": 9}}, {"landscape.points": 9}])
def test_a_stage_from_an_earlier_run_has_its_own_settings(told) -> None:
    """The configuration is that of the last run; a stage that was taken over says its own."""
    radius = build.landscape(quadratic_radius=build.certified(0.3))
    other = report("b.pt", landscape=radius)
    stages = {**other.stages, "landscape": Stage("done", 1.0, settings=told)}
    found = lla.compare(report(landscape=radius), replace(other, stages=stages))
    assert "landscape.points: 31 and 9" in found["landscape/quadratic_radius"].why
    assert lla.compare(report(landscape=radius), other)["landscape/quadratic_radius"].difference


def test_frozen_batch_norm_or_not() -> None:
    other = report("b.pt")
    other = replace(other, provenance={**other.provenance, "batch_norm": "batch"})
    found = lla.compare(report(), other)
    assert found["loss/value"].outcome == "not_comparable"
    assert "batch statistics" in found["loss/value"].why


def test_intervals_without_a_confidence_claim_nothing() -> None:
    """K_H0.5 moves with the nodes by more than its interval; a grid's radius has no level."""
    other = build.spectrum(K_H05=build.sampled(9.0, 0.01))
    radius = Estimate(0.5, 0.49, 0.51, math.nan)
    land = build.landscape(quadratic_radius=radius)
    found = lla.compare(report(), report("b.pt", spectrum=other, landscape=land))
    for path in ("hessian/K_H0.5", "landscape/quadratic_radius"):
        assert found[path].outcome == "not_comparable"
        assert "no stated confidence" in found[path].why
    # What checks the run is no property of the checkpoint.
    assert "landscape/center_error" not in {change.path for change in found.changes}


def test_across_data_the_sample_counts() -> None:
    trace = build.sampled(17.0, sampling_stderr=0.0)
    first = report(spectrum=build.spectrum(trace=trace))
    far = build.spectrum(
        trace=build.sampled(19.0, sampling_stderr=2.0), frobenius=build.sampled(50.0)
    )
    other = report("b.pt", spectrum=far)
    elsewhere = report("b.pt", data={"sha256": "cafe"}, spectrum=far)
    assert lla.compare(first, other)["hessian/trace"].outcome == "larger"
    found = lla.compare(first, elsewhere, across=["data"])
    assert found["hessian/trace"].outcome == "not_shown"
    assert found["hessian/trace"].sampling == "included"
    # Where it is not known, the difference is of the analysed samples, and decides nothing.
    assert found["hessian/frobenius"].outcome == "larger"
    assert found["hessian/frobenius"].sampling == "unknown"
    assert not found["hessian/frobenius"].holds
    assert gate([found]).status == "inconclusive"
    assert found["stability/lr"].sampling == ""


def test_what_one_report_lacks() -> None:
    other = report("b.pt", spectrum=None)
    other = replace(other, stages={**other.stages, "spectrum": Stage("failed", 1.0, why="a bug")})
    found = lla.compare(report(), other)
    assert found["hessian/trace"].outcome == "missing"
    assert found["hessian/trace"].why == "failed in the other report: a bug"
    assert found.layers == ()
    assert gate([found]).status == "inconclusive"
    assert found["stability/trace_frobenius_max_lr"].absent


def test_an_analysis_that_one_report_lacks_is_said_once() -> None:
    other = report("b.pt", sharpness=None, landscape=None)
    text = markdown([lla.compare(report(), other)])
    assert text.count("not in the other report") == 2
    assert "- `sharpness/`: not in the other report" in text
    assert "`sharpness/sam`" not in text
    assert "| `hessian/trace` |" in text


def test_equal_weights_differ_by_their_draws_alone() -> None:
    moved = report(spectrum=build.spectrum(trace=build.sampled(40.0)))
    (note,) = [one for one in notes(lla.compare(report(), moved)) if "same weights" in one]
    assert note.endswith("so chance alone moved hessian/trace")
    (note,) = [one for one in notes(lla.compare(report(), report())) if "same weights" in one]
    assert note == "both reports are of the same weights"


def test_layers_by_name() -> None:
    layers = replace(
        build.spectrum().layers,
        names=("first", "third"),
        trace=np.array([14.5, 5.0]),
        low=np.array([13.5, 4.5]),
        high=np.array([15.5, 5.5]),
    )
    found = lla.compare(report(), report("b.pt", spectrum=build.spectrum(layers=layers)))
    # 14.5 ± 1 and 12 ± 1 with shared probes.
    change = found["hessian/layers/first/trace"]
    assert (change.difference.low, change.difference.high) == pytest.approx((0.5, 4.5))
    assert change.outcome == "larger"
    assert found["hessian/layers/second/trace"].outcome == "missing"
    assert found["hessian/layers/third/trace"].why == "no such layer in the reference"


def certain(**changes):
    """Stability whose batch sharpness has converged."""
    return build.stability(batch_sharpness=build.sampled(20.0), **changes)


@pytest.mark.parametrize(
    ("spectrum", "status"),
    [
        (build.spectrum(), "passed"),
        (sharper(5), "failed"),
        (sharper(-5), "passed"),
        (build.spectrum(frobenius=build.sampled(40.0)), "failed"),
        (build.spectrum(lambda_min=build.certified(3.0)), "passed"),
        # An eigenvalue that has not converged may lie higher in either.
        (build.spectrum(lambda_max=Estimate(15.0, 14.9, 15.1, converged=False)), "inconclusive"),
        # A stochastic interval holds however wide: 17 ± 0.5 and 40 ± 9, and 17 ± 9.
        (
            build.spectrum(trace=build.sampled(40.0, 9.0, converged=False)),
            "failed",
        ),
        (build.spectrum(trace=build.sampled(17.0, 9.0, converged=False)), "inconclusive"),
        (build.spectrum(trace=build.sampled(3.0, 2.0, converged=False)), "passed"),
        (build.spectrum(trace=Estimate.missing("none")), "inconclusive"),
    ],
)
def test_the_gate(spectrum, status) -> None:
    first = report(stability=certain())
    found = gate([lla.compare(first, report("b.pt", spectrum=spectrum, stability=certain()))])
    assert found.status == status
    assert bool(found.reasons) == (status != "passed")
    # The worst of several decides, and a failure comes before a doubt.
    worse = lla.compare(first, report("c.pt", spectrum=sharper(9), stability=certain()))
    both = gate([lla.compare(first, report("b.pt", spectrum=spectrum)), worse])
    assert both.status == "failed"


def test_a_verdict_that_becomes_violated_fails() -> None:
    def judged(outcome):
        return report(
            f"{outcome}.pt", stability=certain(verdicts=(Verdict("stability.gd", outcome, "why"),))
        )

    assert gate([lla.compare(judged("consistent"), judged("violated"))]).status == "failed"
    assert gate([lla.compare(judged("violated"), judged("violated"))]).status == "passed"
    assert gate([lla.compare(judged("violated"), judged("consistent"))]).status == "passed"
    (changed,) = lla.compare(judged("consistent"), judged("violated")).verdicts
    assert (changed.reference, changed.other) == ("consistent", "violated")
    assert changed.outcome == "changed"


def test_nothing_in_common_is_inconclusive() -> None:
    bare = {"spectrum": None, "stability": None, "sharpness": None}
    found = lla.compare(report(**bare), report("b.pt", **bare))
    assert found.changes
    assert gate([found]).status == "inconclusive"


def test_only_known_things_may_differ() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'data'"):
        lla.compare(report(), report(), across=["dat"])


def test_analyses_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a declaration, a metric needs the network and every setting of its analysis."""

    @dataclass(frozen=True)
    class Result:
        size: Estimate = metric("how large")

    analysis = Analysis("weights", "", "weights", Config, Result, "x:run", summary=("size",))
    known = {**registry.available(), "weights": analysis}
    for module in ("lla.comparing.comparison", "lla.report.report"):
        monkeypatch.setattr(f"{module}.available", lambda: known)

    def made(value, threshold):
        weights = Result(Estimate(value, value - 1, value + 1))
        return report(weights=weights, configuration={"weights": {"threshold": threshold}})

    found = lla.compare(made(1, 2), made(9, 2))
    assert found["weights/size"].outcome == "larger"
    assert lla.compare(made(1, 2), made(9, 3))["weights/size"].outcome == "not_comparable"
    assert not found["weights/size"].worse


def several():
    crossed = lla.compare(report(), report("b.pt", data={"sha256": "cafe"}), across=["data"])
    refused = lla.compare(report(), report("c.pt", spectrum=None, dtype="float64", seed=4))
    endless = Estimate(1.0, 0.5, math.inf, 0.95)
    wide = lla.compare(report(), report("d.pt", stability=build.stability(sgd_max_lr=endless)))
    return [crossed, refused, wide]


def test_documents_meet_the_schema() -> None:
    for comparison in several():
        found = json.loads(json.dumps(document([comparison]), allow_nan=False))
        jsonschema.validate(found, schema())
        assert found["schema"] == "lla-compare/1"
        entry = found["comparisons"][0]["metrics"]["hessian/lambda_max"]
        assert entry["outcome"] == comparison["hessian/lambda_max"].outcome
    jsonschema.Draft202012Validator.check_schema(schema())
    # The schema must be able to refuse.
    for path, value in (("outcome", "bigger"), ("difference", None)):
        broken = json.loads(json.dumps(found))
        broken["comparisons"][0]["metrics"]["hessian/lambda_max"][path] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**found, "more": 1}, schema())


def test_markdown_starts_with_the_outcome_and_fits_120_columns() -> None:
    text = markdown(several())
    assert text.startswith("**`b.h5` against `a.h5`: ")
    assert "no difference shown" in text.splitlines()[0]
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert max(map(len, table)) <= 120
    assert text.count("<details>") == text.count("</details>") == 3
    assert "| `hessian/trace` | 17.00 ± 0.50 | 17.00 ± 0.50 | 0 ± 6.1 % | 95 % |" in text
    judged = gate([several()[0]])
    assert markdown(several(), judged).startswith("**It cannot be said")


def test_markdown_of_hostile_names() -> None:
    layers = replace(build.spectrum().layers, names=("a|b", "</details><script>`x`"))
    one = report("x|`y`.pt", spectrum=build.spectrum(layers=layers))
    text = markdown([lla.compare(one, one)])
    assert "<script" not in text
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|-"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (5, 7), line
    assert lla.compare(one, one)._repr_markdown_() == text
