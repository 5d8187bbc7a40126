"""Peaks of memory, held against blocks of known size."""

import sys

import pytest

from lla.watching import forget_peak, peak_resident

_BLOCK = 192 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="the system keeps the peak")
def test_a_job_is_not_charged_with_the_peak_of_the_one_before():
    block = bytearray(_BLOCK)
    held = peak_resident()
    del block
    assert peak_resident() >= held
    forget_peak()
    assert peak_resident() < held - 0.9 * _BLOCK
    block = bytearray(_BLOCK)
    assert peak_resident() >= held - 0.1 * _BLOCK
    del block
