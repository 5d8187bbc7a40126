"""Whatever the bytes are: only errors of ours come out, and nothing happens on the machine."""

import contextlib
import random
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lla import checkpoint
from lla.checkpoint.inspection import inspect
from lla.errors import CheckpointError, LlaError
from tests.checkpoint.making import CODE, FORMATS
from tests.checkpoint.watching import watched

QUICK = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(QUICK, max_examples=1000)
MAGIC = (
    b"",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x80\x02",
    b"\x80\x04\x95",
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
    b"\x10\x00\x00\x00\x00\x00\x00\x00{",
    b"\x89HDF\r\n\x1a\n",
)
MEMBERS = ("torch", "torch-legacy", "safetensors", "pt2")


@cache
def originals() -> dict[str, bytes]:
    """One intact file of each kind that is a file."""
    found = {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, (file, make) in {**FORMATS, **CODE}.items():
            if name in (*MEMBERS, *CODE):
                path = Path(folder) / file
                make(path)
                checkpoint.recognize(path)
                found[name] = path.read_bytes()
                with contextlib.suppress(LlaError):  # what loads late has loaded
                    checkpoint.load(path)
                    inspect(path)
    return found


def failure(action: Callable[[Path], object], path: Path) -> LlaError | None:
    try:
        action(path)
    except LlaError as error:
        return error
    return None


def tried(content: bytes, suffix: str = ".pt") -> bool:
    """Recognize, load and inspect; whether loading succeeded."""
    originals()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"m{suffix}"
        path.write_bytes(content)
        loaded = False
        with watched() as events, warnings.catch_warnings():
            warnings.simplefilter("error")
            for action in (checkpoint.recognize, checkpoint.load, inspect):
                error = failure(action, path)
                assert error is None or isinstance(error, CheckpointError)
                assert error is None or (error.remedy and "\n" not in error.reason)
                loaded |= action is checkpoint.load and error is None
        assert events == []
        assert [item.name for item in Path(folder).iterdir()] == [path.name]
    return loaded


Edit = tuple[str, float, int, bytes, str]
edits = st.lists(
    st.tuples(
        st.sampled_from(("flip", "cut", "insert", "repeat", "splice", "zero")),
        st.floats(0, 1),
        st.integers(1, 64),
        st.binary(min_size=1, max_size=16),
        st.sampled_from((*MEMBERS, *CODE)),
    ),
    min_size=1,
    max_size=6,
)
names = st.sampled_from((*MEMBERS, *CODE))


def spoilt(name: str, edits: list[Edit]) -> bytes:
    """An intact file with bytes changed, cut, repeated or taken from another."""
    content = bytearray(originals()[name])
    for kind, where, length, values, other in edits:
        place = int(where * max(len(content) - 1, 0))
        part = slice(place, place + length)
        if kind == "flip" and content:
            content[place] ^= 1 << length % 8
        elif kind == "cut":
            del content[part]
        elif kind == "insert":
            content[place:place] = values
        elif kind == "repeat":
            content[place:place] = content[part]
        elif kind == "splice":
            whole = originals()[other]
            start = int(where * len(whole))
            content[part] = whole[start : start + length]
        else:
            content[part] = bytes(len(content[part]))
    return bytes(content)


any_bytes = st.tuples(st.sampled_from(MAGIC), st.binary(max_size=400)).map(b"".join)


@given(any_bytes)
@QUICK
def test_any_bytes(content: bytes) -> None:
    tried(content)


@given(names, edits)
@QUICK
def test_spoilt_files(name: str, edits: list[Edit]) -> None:
    tried(spoilt(name, edits))


@pytest.mark.long
@given(any_bytes)
@LONG
def test_many_bytes(content: bytes) -> None:
    tried(content)


@pytest.mark.long
@given(names, edits)
@LONG
def test_many_spoilt_files(name: str, edits: list[Edit]) -> None:
    tried(spoilt(name, edits))


def flipped(seed: int) -> None:
    """Bits flipped in pickles, headers and tables alone, where they mean the most."""
    rng = random.Random(seed)
    for name, whole in originals().items():
        content = bytearray(whole)
        end = len(content) if name == "pt2" else min(len(content), 3000)
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(end)] = rng.randrange(256)
        tried(bytes(content))


@pytest.mark.long
def test_memory_stays_bounded() -> None:
    """In a process of its own: nothing that a few thousand bytes say asks for gigabytes."""
    script = (
        "import resource\n"
        "from tests.checkpoint.test_fuzz import flipped, originals\n"
        "originals()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for seed in range(40): flipped(seed)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent.parent,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30)),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) < 300 << 10  # in KiB


def test_the_intact_files_are_accepted() -> None:
    """The twins of all of the above: else every test here would pass for the wrong reason."""
    for name in MEMBERS:
        assert tried(originals()[name])
    for name in CODE:
        assert not tried(originals()[name])
