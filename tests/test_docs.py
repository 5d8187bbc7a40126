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
