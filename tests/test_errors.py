"""What a message suggests for a name that is not there."""

from pathlib import Path

import pytest

from lla.errors import nearest_file


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("modle.pt", "model.pt"),
        ("epoch_10.lla.h5", "epoch_1.lla.h5"),
        ("modle.npz", ""),  # another ending is another thing
        ("no.pt", ""),  # an ending in common is no likeness
        ("absent/model.pt", ""),
    ],
)
def test_a_file_of_a_like_name_is_suggested(tmp_path: Path, wanted: str, meant: str) -> None:
    for name in ("model.pt", "m.pt", "epoch_1.lla.h5"):
        (tmp_path / name).touch()
    found = nearest_file(tmp_path / wanted)
    assert found == (f" (did you mean '{tmp_path / meant}'?)" if meant else "")
