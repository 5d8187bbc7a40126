"""The rooms import one way, heavy packages load late, and the public names are these."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lla

ROOT = Path(__file__).parent.parent

# From the ground up: a room may import those above it in this list, and itself.
FLOORS = (
    {
        "lla.allocator",
        "lla.watching",
        "lla.errors",
        "lla.estimate",
        "lla.files",
        "lla.lazy",
        "lla.progress",
        "lla.seeding",
        "lla.validation",
    },
    {"lla.team"},
    {"lla.distributed", "lla.numbers", "lla.optional", "lla.sources"},
    {"lla.checkpoint"},
    {"lla.drafting", "lla.problem"},
    {"lla.curvature", "lla.krylov"},
    {"lla.analyses"},
    {"lla.report"},
    {"lla.comparing"},
    {"lla.settings"},
    {"lla.keys", "lla.ledger"},
    {"lla.execution", "lla.provenance"},
    {"lla.pipeline"},
    {"lla.foresight"},
    {"lla.api"},
    {"lla.audit"},
    {"lla.batch"},
    {"lla"},
    {"lla_plots"},
    {"lla_cli"},
)
ONLY = {
    "lla.krylov": {"lla.krylov", "lla.estimate", "lla.team"},
    "lla.curvature": {
        "lla.allocator",
        "lla.curvature",
        "lla.errors",
        "lla.lazy",
        "lla.problem",
        "lla.seeding",
        "lla.team",
        "lla.watching",
    },
    "lla.checkpoint": {"lla.checkpoint", "lla.errors", "lla.optional"},
    "lla.distributed": {"lla.distributed", "lla.errors", "lla.team"},
}


def room_of(module: str) -> str:
    rooms = [room for floor in FLOORS for room in floor if f"{module}.".startswith(f"{room}.")]
    return max(rooms, key=len)


def modules() -> dict[str, Path]:
    found = {}
    for base in (ROOT, ROOT / "cli", ROOT / "plots"):
        for package in ("lla", "lla_cli", "lla_plots"):
            for path in (base / package).rglob("*.py"):
                parts = path.relative_to(base).with_suffix("").parts
                found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports_of(path: Path) -> set[str]:
    """Everything a module imports, at run time or for its types, at the top or in a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{item.name}" for item in node.names}
        elif isinstance(node, ast.Import):
            found |= {item.name for item in node.names}
    return {name for name in found if name.split(".")[0] in ("lla", "lla_cli", "lla_plots")}


def floor_of(room: str) -> int:
    return next(index for index, floor in enumerate(FLOORS) if room in floor)


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_point_down(module: str) -> None:
    room = room_of(module)
    for name in imports_of(modules()[module]):
        target = room_of(name)
        # The package's own face hands on what lies below it.
        if target == "lla" and room != "lla":
            assert name in ("lla.__version__", "lla.checkpoint"), name
            continue
        assert target == room or floor_of(target) < floor_of(room), f"{module} imports {name}"
        assert target in ONLY.get(room, {target}), f"{module} imports {name}"


def loaded_by(code: str) -> set[str]:
    script = f"import sys\nsys.argv = ['lla', '--help']\n{code}\nprint(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"torch", "numpy", "scipy", "h5py", "matplotlib", "plotly"}


def test_help_loads_nothing_heavy() -> None:
    loaded = loaded_by(
        "from lla_cli.main import main\ntry:\n    main()\nexcept SystemExit as end:\n"
        "    assert not end.code"
    )
    assert "lla_cli.main" in loaded
    assert sorted(loaded & HEAVY) == []


def test_reading_a_report_needs_no_torch() -> None:
    loaded = loaded_by("import lla_plots.draw, lla_plots.page, lla.report.storage, lla.settings")
    assert sorted(loaded & {"h5py", "torch"}) == ["h5py"]


def test_comparing_reads_no_files() -> None:
    """The comparison is of reports in memory: neither torch nor h5py."""
    assert sorted(loaded_by("import lla\nlla.compare") & {"h5py", "torch", "matplotlib"}) == []


def test_judging_needs_no_torch() -> None:
    """Reports are read and judged, in every format, without torch."""
    loaded = loaded_by("import lla.audit, lla_cli.audited, lla.audit.drafting, lla.audit.writing")
    assert sorted(loaded & HEAVY) == []


def test_public_names() -> None:
    assert sorted(lla.__all__) == [
        "Checkpoint",
        "Comparison",
        "Estimate",
        "Label",
        "LlaError",
        "Problem",
        "Report",
        "Training",
        "Trust",
        "Verdict",
        "__version__",
        "analyze",
        "compare",
        "load",
        "read",
        "write",
    ]
    for name in lla.__all__:
        assert getattr(lla, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lla.nothing  # noqa: B018


def test_settings_do_not_state_the_problem_twice() -> None:
    import torch
    from torch import nn

    from lla.errors import ConfigurationError

    data = (torch.randn(6, 3), torch.randint(0, 2, (6,)))
    with pytest.raises(ConfigurationError, match="loss is given, but settings cannot hold it"):
        lla.analyze(nn.Linear(3, 2), data, settings={"loss": {"name": "mse"}})
    report = lla.analyze(nn.Linear(3, 2), data, only=["baseline"], batch_size=4)
    assert report.provenance["configuration"]["data"]["batch_size"] == 4
    assert report.provenance["configuration"]["loss"]["name"] == "cross_entropy"
