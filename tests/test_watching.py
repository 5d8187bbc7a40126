"""Peaks of memory, held against blocks of known size."""

import subprocess
import sys

import pytest

_BLOCK = 192 << 20
# In a process of its own: this one's peak is of the tests before, and it may keep what is freed.
_PROGRAM = f"""
from lla.watching import forget_peak, peak_resident
block = bytearray({_BLOCK})
print(peak_resident())
del block
print(peak_resident())
forget_peak()
print(peak_resident())
block = bytearray({_BLOCK})
print(peak_resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system keeps the peak")
def test_a_job_is_not_charged_with_the_peak_of_the_one_before():
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, check=True)
    held, after, forgotten, again = map(int, done.stdout.split())
    assert after >= held - 0.1 * _BLOCK  # the system counts pages in batches
    assert forgotten < held - 0.9 * _BLOCK
    assert again >= held - 0.1 * _BLOCK
