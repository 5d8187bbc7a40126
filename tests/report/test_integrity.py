"""A report is as it was written, or refused: never a number that is silently different."""

import hashlib
import os
import random
import shutil
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import pytest
from lla_cli.main import app
from typer.testing import CliRunner

import lla
from lla.errors import ReportError
from lla.report import Report, opening, seal
from tests.plots import build


@pytest.fixture
def path(tmp_path: Path) -> Path:
    lla.write(build.report(), tmp_path / "r.h5")
    return tmp_path / "r.h5"


def small() -> Report:
    """A report of few bytes that has of everything: scalars, arrays, texts, scales."""
    surface = build.landscape().surface
    few = replace(
        surface,
        **{name: getattr(surface, name)[:3] for name in ("loss", "alpha", "accuracy", "error")},
    )
    few = replace(few, quadratic=surface.quadratic[:3], status=surface.status[:3])
    whole = build.report(landscape=build.landscape(surface=few))
    return replace(whole, results={name: whole.results[name] for name in ("baseline", "landscape")})


def flipped(content: bytes, place: int, bit: int = 0) -> bytes:
    found = bytearray(content)
    found[place] ^= 1 << bit
    return bytes(found)


def unsealed(content: bytes) -> bytes:
    return content[: -seal.LENGTH]


def sealed(content: bytes) -> bytes:
    return content + seal.line(hashlib.sha256(content).hexdigest())


def read(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Report:
    """Read bytes as if they were the file's, without writing them."""
    monkeypatch.setattr(opening, "_stream", lambda path: BytesIO(content))
    return lla.read(__file__)


def test_the_last_line_is_the_digest_of_what_stands_before_it(path: Path) -> None:
    content = path.read_bytes()
    stated = subprocess.run(
        f"head -c -77 '{path}' | sha256sum | cut -c -64; tail -c 65 '{path}'",
        shell=True,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert stated[0] == stated[1] == hashlib.sha256(content[:-77]).hexdigest()
    assert lla.read(path).sha256 == lla.read(path, verify=True).sha256 == stated[0]
    # The file still begins as HDF5 does, by which programs recognise it.
    assert content.startswith(b"\x89HDF\r\n\x1a\n")
    assert h5py.is_hdf5(path)


def test_a_flipped_byte_anywhere_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lla.write(small(), tmp_path / "small.h5")
    content = (tmp_path / "small.h5").read_bytes()
    draw = random.Random(0)
    ends = [*range(600), *range(len(content) - 300, len(content))]
    places = [*ends, *(draw.randrange(len(content)) for _ in range(2000))]
    # Where the damage is, is the next test's question, and takes most of the time.
    monkeypatch.setattr(opening, "damaged_dataset", lambda file: "")
    assert read(content, monkeypatch).sha256
    for place in places:
        with pytest.raises(ReportError, match=r"is damaged") as caught:
            read(flipped(content, place, draw.randrange(8)), monkeypatch)
        assert caught.value.exit_code == 5
        assert "lla analyze" in caught.value.remedy


@pytest.mark.long
def test_looking_for_the_damage_never_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lla.write(small(), tmp_path / "small.h5")
    content = (tmp_path / "small.h5").read_bytes()
    draw = random.Random(1)
    for _ in range(200):
        place = draw.randrange(len(content))
        with pytest.raises(ReportError, match=r"is damaged"):
            read(flipped(content, place, draw.randrange(8)), monkeypatch)


def chunks(content: bytes) -> dict[str, tuple[int, int]]:
    """Where the bytes of each array are."""
    found: dict[str, tuple[int, int]] = {}

    def look(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and item.chunks:
            chunk = item.id.get_chunk_info(0)
            found[f"/{name}"] = chunk.byte_offset, chunk.size

    with h5py.File(BytesIO(content)) as file:
        file.visititems(look)
    return found


def test_a_flipped_byte_of_an_array_names_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the file's own digest, and by the arrays' checksums alone."""
    content = path.read_bytes()
    places = chunks(content)
    assert len(places) > 40
    draw = random.Random(2)
    for name, (start, size) in places.items():
        broken = flipped(content, start + draw.randrange(size), draw.randrange(8))
        with pytest.raises(ReportError, match=f"the dataset {name} "):
            read(broken, monkeypatch)
        if not name.endswith("_errors"):  # lla derives them, and does not read them
            with pytest.raises(ReportError, match=f"the dataset {name} is damaged"):
                read(unsealed(broken), monkeypatch)


def test_damage_in_a_scalar_is_found_by_the_digest_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = path.read_bytes()
    with h5py.File(path) as file:
        place = file["hessian/lambda_max"].id.get_offset()
    broken = flipped(content, place + 6)
    with pytest.raises(
        ReportError, match=r"damaged: its SHA-256 is \w{12}…, and it was written with"
    ):
        read(broken, monkeypatch)
    # Without the line HDF5 itself sees nothing wrong with another number.
    assert read(unsealed(broken), monkeypatch).metrics["hessian/lambda_max"].value != 10.0


@pytest.mark.parametrize("place", [1, 5, 12, 40, 76])
def test_damage_in_the_line_itself(path: Path, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = path.read_bytes()
    with pytest.raises(ReportError, match=r"is damaged"):
        read(flipped(content, len(content) - 77 + place), monkeypatch)


@pytest.mark.parametrize("kept", [0, 4, 500, 0.3, 0.9, -78, -76, -1])
def test_a_file_cut_short(path: Path, kept: float, monkeypatch: pytest.MonkeyPatch) -> None:
    content = path.read_bytes()
    length = int(kept * len(content)) if 0 < kept < 1 else int(kept)
    with pytest.raises(ReportError, match=r"cannot be read as a report|is damaged|is not a report"):
        read(content[:length], monkeypatch)


def test_what_another_program_wrote_opens_and_is_not_verified(path: Path) -> None:
    copy = path.with_name("copy.h5")
    with h5py.File(path) as old, h5py.File(copy, "w") as new:
        for name in old:
            old.copy(name, new)
        new.attrs.update(dict(old.attrs))
    assert lla.read(copy).sha256 == ""
    assert lla.read(copy).metrics.keys() == lla.read(path).metrics.keys()
    with pytest.raises(ReportError, match="states no SHA-256, so another program") as caught:
        lla.read(copy, verify=True)
    assert caught.value.remedy.startswith(f"open it as it is: lla show {copy}")


@pytest.mark.parametrize("name", ["hessian/lambda_max", "notes"])
def test_what_another_program_changed_states_no_digest_any_more(path: Path, name: str) -> None:
    """libhdf5 cuts a file off behind its data when it closes what it has opened for writing."""
    with h5py.File(path, "r+") as file:
        if name in file:
            file[name][()] = 1.0
        else:
            file[name] = np.arange(5000.0)
    assert lla.read(path).sha256 == ""
    with pytest.raises(ReportError, match="states no SHA-256"):
        lla.read(path, verify=True)
    shown = CliRunner().invoke(app, ["show", str(path)])
    assert "another program has written this file" in shown.stdout


def test_large_files_are_checked_when_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = path.read_bytes()
    monkeypatch.setattr(opening, "IN_MEMORY", 1000)
    assert lla.read(path, verify=True).sha256 == lla.read(path).sha256
    with h5py.File(path) as file:
        scalar = file["hessian/lambda_max"].id.get_offset()
    path.write_bytes(flipped(content, scalar))
    assert lla.read(path).sha256
    with pytest.raises(ReportError, match="its SHA-256 is"):
        lla.read(path, verify=True)
    path.write_bytes(flipped(content, chunks(content)["/landscape/surface/loss"][0] + 20))
    for verify in (False, True):
        with pytest.raises(ReportError, match="the dataset /landscape/surface/loss "):
            lla.read(path, verify=verify)


def test_show_verify(path: Path) -> None:
    def show(*more: str):
        return CliRunner().invoke(app, ["show", str(path), *more])

    digest = lla.read(path).sha256
    assert show("--verify").stdout.splitlines()[-1] == f"verified: sha256 {digest}"
    assert "verified" not in show().stdout
    told = show("--verify", "--json")
    assert f'"report_sha256": "{digest}"' in told.stdout
    assert "verified" not in told.stdout
    assert f"verified: sha256 {digest}" in told.stderr
    content = path.read_bytes()
    path.write_bytes(flipped(content, chunks(content)["/hessian/eigenvalues"][0]))
    done = show("--verify")
    assert done.exit_code == 5
    assert "the dataset /hessian/eigenvalues is not as it was written" in done.stderr
    assert "make it anew: lla analyze MODEL" in done.stderr
    path.write_bytes(unsealed(content))
    assert show().exit_code == 0
    assert show("--verify").exit_code == 5


def of_schema(path: Path, schema: str | None, creator: str = "9.8.7") -> None:
    path.write_bytes(unsealed(path.read_bytes()))
    with h5py.File(path, "r+") as file:
        del file.attrs["lla_schema"]
        file.attrs["creator_version"] = creator
        if schema is not None:
            file.attrs["lla_schema"] = schema
    path.write_bytes(sealed(path.read_bytes()))


@pytest.mark.parametrize(
    ("schema", "reason", "remedy"),
    [
        ("lla-report/2", "of schema lla-report/2, written by lla 9.8.7; this is lla", ">=9.8.7'"),
        ("lla-report/0", "of schema lla-report/0, written by lla 9.8.7; this is lla", "==9.8.7'"),
        ("other/1", "an HDF5 file, but not a report of lla", "make one: lla analyze MODEL"),
        ("lla-report/x", "an HDF5 file, but not a report of lla", "make one: lla analyze MODEL"),
        (None, "an HDF5 file, but not a report of lla", "make one: lla analyze MODEL"),
    ],
)
def test_other_versions(path: Path, schema: str | None, reason: str, remedy: str) -> None:
    of_schema(path, schema)
    with pytest.raises(ReportError, match=reason) as caught:
        lla.read(path)
    assert caught.value.remedy.endswith(remedy)


def test_what_an_older_version_did_not_compute(path: Path) -> None:
    """A metric is then missing with the reason; an array that has to be there is named."""
    path.write_bytes(unsealed(path.read_bytes()))
    with h5py.File(path, "r+") as file:
        del file["hessian/near_zero"], file["hessian/type"]
    found = lla.read(path)
    assert not found.metrics["hessian/near_zero"].exists
    assert "did not compute" in found.metrics["hessian/near_zero"].why
    assert "did not compute" in found.metrics["hessian/type"].why
    with h5py.File(path, "r+") as file:
        del file["hessian/eigenvalues"]
    with pytest.raises(ReportError, match="/hessian/eigenvalues is missing"):
        lla.read(path)


def test_a_reader_of_the_old_report_is_not_disturbed(path: Path) -> None:
    """By h5py with its locks, as any other program would: old handle old values, new one new."""
    other = build.report(spectrum=build.spectrum(lambda_max=build.certified(99.0)))
    with h5py.File(path) as reader:
        old = reader["landscape/surface/loss"][()]
        lla.write(other, path)
        assert reader["hessian/lambda_max"][()] == 10.0
        np.testing.assert_array_equal(reader["landscape/surface/loss"][()], old)
        with h5py.File(path) as second:
            assert second["hessian/lambda_max"][()] == 99.0
        assert lla.read(path).metrics["hessian/lambda_max"].value == 99.0
        assert reader["hessian/lambda_max"][()] == 10.0


def test_opening_locks_nothing(path: Path) -> None:
    """Another program may open a report for writing while lla has it open."""
    with opening.opened(path) as (ours, _):
        with h5py.File(path, "r+", locking=True) as file:
            file["hessian/lambda_max"][()] = 1.0
        assert ours["hessian/lambda_max"][()] == 10.0


@pytest.mark.parametrize("name", ["a/b", "", ".", "..", "%", "a%2Fb", "λ", "x\0y"])
def test_layers_of_any_name(name: str, tmp_path: Path) -> None:
    maps = build.saliency().maps
    odd = build.saliency(maps={name: maps["a"], "b": maps["b"]})
    lla.write(build.report(saliency=odd), tmp_path / "r.h5")
    found = lla.read(tmp_path / "r.h5").results["saliency"].maps
    assert sorted(found) == sorted([name.replace("\0", "\\0"), "b"])


def test_texts_that_are_no_utf8(tmp_path: Path) -> None:
    """A file's name may hold any bytes: the report is written, and the path comes back."""
    path = os.fsdecode(b"net\xff.pt")
    lla.write(build.report(path), tmp_path / "r.h5")
    assert lla.read(tmp_path / "r.h5").checkpoint.path == path


def test_a_report_can_be_moved(path: Path) -> None:
    moved = shutil.move(path, path.with_name("moved.h5"))
    assert lla.read(moved, verify=True).path == str(moved)
