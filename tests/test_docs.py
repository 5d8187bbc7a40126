"""The examples in the documentation run as they stand."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def blocks(name: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.M | re.S)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_plain_training_loop(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, object] = {}
    exec(blocks("docs/training-loop.md")[0], scope)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["epoch 0", "epoch 2"]
    import lla

    log = scope["log"]
    for epoch, low, high, limit in log.rows:  # type: ignore[attr-defined]
        found = lla.read(f"epoch{epoch}.lla.h5").metrics["hessian/lambda_max"]
        assert (found.low, found.high) == (low, high)
        assert low <= high
        assert limit == 4.0


@pytest.mark.filterwarnings("ignore")  # on loaders without workers, on its own imports
def test_the_lightning_callback(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pytorch_lightning")
    scope: dict[str, object] = {}
    exec(blocks("docs/training-loop.md")[1], scope)
    assert "λ_max" in capsys.readouterr().out

    import lla

    saved = lla.load("classifier.ckpt")
    assert saved.facts["lr"] == 0.5
    assert saved.hyper_parameters == {"lr": 0.5}
    # The logged number is that of the weights at the end: the same through the file.
    trainer = scope["trainer"]
    weights = {name.removeprefix("net."): tensor for name, tensor in saved.tensors.items()}
    net = trainer.lightning_module.net  # type: ignore[attr-defined]
    net.load_state_dict(weights)
    report = lla.analyze(net, scope["loader"], only=["spectrum"])  # type: ignore[arg-type]
    logged = float(trainer.callback_metrics["lambda_max"])  # type: ignore[attr-defined]
    assert report.metrics["hessian/lambda_max"].value == pytest.approx(logged, rel=1e-6)


def test_reading_a_report_with_other_programs(capsys: pytest.CaptureFixture[str]) -> None:
    import lla
    from tests.plots import build

    lla.write(build.report(), "digits_cnn.lla.h5")
    with_h5py, with_xarray = blocks("docs/report-format.md")
    exec(with_h5py, {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "10.0 9.99 10.01"
    assert "'stability.b': 'violated'" in lines[-1]
    scope: dict[str, object] = {}
    exec(with_xarray, scope)
    scope["tree"].close()  # type: ignore[attr-defined]
    assert capsys.readouterr().out == "0.01 {'alpha': 7}\n"


def test_the_notebook_cell() -> None:
    scope: dict[str, object] = {}
    exec(blocks("docs/training-loop.md")[2], scope)
    shown = scope["report"]._repr_html_()  # type: ignore[attr-defined]
    assert shown.startswith("<table>")
    assert "hessian/lambda_max" in shown
    assert "<script" not in shown


def test_the_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    import lla
    from tests.plots import build

    for name, value in (("before", 10.0), ("after", 12.0)):
        spectrum = build.spectrum(lambda_max=build.certified(value))
        lla.write(build.report(spectrum=spectrum), f"{name}.lla.h5")
    exec(blocks("docs/compare.md")[0], {})
    assert capsys.readouterr().out.startswith("larger 1.98")


def test_saliency_from_a_report_and_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    import lla
    from tests.plots import build

    lla.write(build.report(), "digits_cnn.lla.h5")
    from_report, by_hand = blocks("docs/saliency.md")
    exec(from_report, {})
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "a (3, 4, 4) 1 constant",
        "b (3, 2, 2) 1 constant",
        "beyond the outlines: 0.1",
    ]
    exec(by_hand, {})
    assert capsys.readouterr().out == "True\n"


def test_saliencys_commands_and_tables_name_what_there_is() -> None:
    """Options, methods and pairs in docs/saliency.md are the code's."""
    from lla.analyses.saliency import SaliencyConfig
    from lla.analyses.saliency.names import AGGREGATIONS, METHODS, VIRTUAL

    text = (ROOT / "docs/saliency.md").read_text()
    known = {f"--{name.replace('_', '-')}" for name in SaliencyConfig.model_fields}
    assert set(re.findall(r"--[a-z][a-z-]+", text)) <= known | {"--no-meta"}
    for name, method in METHODS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
        assert f"`{method.pair.virtual}`/`{method.pair.aggregation}`" in row or name.startswith(
            "selective"
        )
    for name in (*VIRTUAL, *AGGREGATIONS):
        assert f"`{name}`" in text


def test_the_false_alarm_of_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs/stability.md").read_text()
    exec(blocks("docs/stability.md")[0], {})
    lines = capsys.readouterr().out.splitlines()
    assert "\n".join(lines[:2]) in text
    assert lines[0].endswith("0.667")
    assert lines[1].endswith("1.333")
    assert float(lines[2].split()[1]) < 1e-6


def test_what_rescaling_changes_of_the_sharpness(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks("docs/sharpness.md")[0], {})
    said = dict(line.split(": times ") for line in capsys.readouterr().out.splitlines())
    assert abs(float(said.pop("sam")) - 1) > 0.1
    assert said == dict.fromkeys(("asam", "fisher_rao", "relative_flatness"), "1")


def test_the_series_of_a_training(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks("docs/sharpness.md")[1], {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [f"epoch-{n}.pt" for n in (25, 50, 75, 100)]
    assert all(line.endswith("of 4") for line in lines)


def test_the_table_of_sharpness_measures_is_complete() -> None:
    """Every metric of the analysis has a row, and every row's option its default."""
    from lla.analyses.fields import entries
    from lla.analyses.sharpness import SharpnessConfig, SharpnessResult

    text = (ROOT / "docs/sharpness.md").read_text()
    for entry in entries(SharpnessResult):
        if entry.kind == "metric" and entry.name != "layer":
            assert f"`{entry.name}`" in text, entry.name
    options = re.findall(r"`--([a-z-]+)` (?:gradients )?\(?([0-9.]+)", text)
    assert {name for name, _ in options} >= {"rho", "adaptive-rho", "eta", "sigma", "ascent"}
    for name, value in options:
        assert float(value) == SharpnessConfig.model_fields[name.replace("-", "_")].default


def test_the_audit(capsys: pytest.CaptureFixture[str]) -> None:
    """Its commands in order, its policy, and its Python."""
    import shlex

    from lla_cli.main import app
    from typer.testing import CliRunner

    import lla
    from lla.audit import read_policy
    from tests.comparing.test_comparison import report
    from tests.plots import build

    text = (ROOT / "docs/audit.md").read_text()
    calm = build.stability(**build.calm())
    lla.write(report(stability=calm, landscape=None, saliency=None), "model.lla.h5")
    lla.write(report(stability=calm, landscape=None, saliency=None), "before.lla.h5")
    (commands,) = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    for command in commands.splitlines():
        name, *arguments = shlex.split(command, comments=True)
        assert name == "lla"
        # There is no checkpoint here: a glob that matches nothing ends with 3.
        code = 3 if "models/*.pt" in arguments else 0
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == code, (command, done.output)
    (policy,) = re.findall(r"^```toml\n(.*?)^```", text, re.M | re.S)
    Path("lla-policy.toml").write_text(policy)
    assert [gate.id for gate in read_policy().gates] == [
        "sharpness.max", "sharpness.regression", "stable"
    ]  # fmt: skip
    exec(blocks("docs/audit.md")[0], {})
    out = capsys.readouterr().out
    assert "sharpness.max pass hessian/lambda_max = 10.00 [9.99, 10.01] (certified)" in out
    assert out.rstrip().endswith("0")


def test_the_alignment_of_live_objects(capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    scope: dict[str, object] = {}
    exec(blocks("docs/alignment.md")[0], scope)
    lines = capsys.readouterr().out.splitlines()
    assert "scaled" in lines[0]
    matrix = scope["found"].distances["spectral"].value  # type: ignore[attr-defined]
    assert np.abs(matrix[:1, :1]).max() == 0
    assert matrix[0, 1] > 0.1


@pytest.mark.long
def test_the_alignment_of_the_turned_digits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The command as it stands, and the table that it is said to give."""
    import shlex

    import lla
    from tests.cli.test_commands import lla as command

    text = (ROOT / "docs/alignment.md").read_text()
    (console,) = re.findall(r"^```console\n(.*?)^```", text, re.M | re.S)
    monkeypatch.chdir(ROOT)
    arguments = shlex.split(console.replace("\\\n", " "))[1:]
    target = tmp_path / "r.lla.h5"
    done = command(*arguments, "--no-html", "-q", "-o", target)
    assert done.exit_code == 0, done.stderr
    found = lla.read(target).results["align"]
    rows = re.findall(r"^\| (?:clean|turned|noise).*$", text, re.M)
    assert len(rows) == len(found.domains.names) == 8
    matrix = found.distances["spectral"]
    for index, row in enumerate(rows):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert float(cells[1]) == pytest.approx(found.domains.accuracy[index], abs=6e-4)
        numbers = [float(one) for one in re.findall(r"[\d.]+", cells[2])]
        ends = (matrix.value, matrix.sampling_low, matrix.sampling_high)
        for number, values in zip(numbers, ends, strict=False):
            assert number == pytest.approx(values[0, index], abs=0.02)
        assert float(cells[4]) == pytest.approx(found.calibration.ece[index], abs=1e-3)
    assert found.drop_correlation.value == pytest.approx(0.93, abs=5e-3)
