"""What a usage that another command would understand is told as."""

import re

import pytest
from lla_cli.main import app
from typer.testing import CliRunner

CASES = {
    "analyze m.pt --axes hessian": ["lla landscape has", "write: --set landscape.axes=hessian"],
    "analyze m.pt --axes=0,1 --axes 2": ["write: --set landscape.axes=0,1,2"],
    "batch m.pt --layers conv2": ["lla saliency has", "write: --set saliency.layers=conv2"],
    "analyze m.pt --no-trajectory-x 1": ["No such option"],
    "analyze m.pt --jobs 2": ["lla batch has", "see lla batch -h"],
    "spectrum m.pt --axes hessian": ["lla landscape has", "see lla landscape -h"],
    "analyze a.pt b.pt c.pt": [
        "one checkpoint, a.pt, and was given more: b.pt, c.pt",
        "lla batch a.pt b.pt c.pt",
    ],
    "spectrum a.pt b.pt": ["lla batch a.pt b.pt --only spectrum"],
    "landscape m.pt --axs hessian": ["No such option: --axs", "--axes"],
}


@pytest.mark.parametrize("line", CASES)
def test_a_usage_that_another_command_understands(line: str) -> None:
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 2
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr)
    for words in CASES[line]:
        assert words in plain


def test_what_is_written_then_is_understood() -> None:
    """The remedy's settings are those that the option itself would state."""
    from lla_cli.flags import values_of

    from lla.settings import resolve
    from lla.sources import Source

    told = CliRunner().invoke(app, ["analyze", "m.pt", "--domain", "rot=r.npz"]).stderr
    found = re.search(r"--set '(.*)'", told)
    assert found
    values = values_of((), {"set_": [found[1]]})
    assert resolve([Source("flags", values)]).sections()["align"]["domains"] == {"rot": "r.npz"}
