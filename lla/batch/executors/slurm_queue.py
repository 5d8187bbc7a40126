"""What Slurm says of jobs: which are over, and how they ended."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence

__all__ = ["WORDS", "signalled", "states"]

WORDS = {
    "BOOT_FAIL": "the node that it was to run on did not boot",
    "CANCELLED": "somebody cancelled it",
    "COMPLETED": "its worker ended without a word",
    "DEADLINE": "Slurm ended it at its deadline",
    "FAILED": "its worker died: it was killed, or crashed",
    "NODE_FAIL": "the node that it ran on failed",
    "OUT_OF_MEMORY": "it needed more memory than it was given (--slurm mem=32G gives it more)",
    "PREEMPTED": "others went first (it was preempted)",
    "REVOKED": "its cluster gave it away",
    "TIMEOUT": "Slurm ended it at its time limit",
}
"""Slurm's names of states in which a job is over, and what they mean."""

_PATIENCE = 60  # seconds until a command that does not answer is given up


def states(names: Iterable[str]) -> dict[str, str]:
    """The states of jobs, as far as Slurm knows them.

    One question for all: to the controller, which forgets jobs some minutes after their end; and
    of those that it has forgotten to the accounting, which not every cluster has.

    Args:
        names: Jobs, as "17" or, in an array, "17_3".
    """
    wanted = set(names)
    lines = _said(
        ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T"], wanted
    )
    forgotten = sorted(wanted - lines.keys())
    if forgotten:
        asked = ["--jobs", ",".join(forgotten), "--format=JobID,State"]
        lines |= _said(["sacct", "-X", "--noheader", "--parsable2", *asked], wanted)
    return lines


def _said(command: Sequence[str], wanted: set[str]) -> dict[str, str]:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    pairs = (line.strip().partition("|") for line in done.stdout.splitlines())
    # "CANCELLED by 1000" is cancelled.
    return {name: state.split()[0] for name, _, state in pairs if name in wanted and state}


def signalled(names: Sequence[str], *options: str) -> None:
    """Send a signal to jobs, or cancel them, by ``scancel``; those that are over do not mind."""
    if names:
        with subprocess.Popen(
            ["scancel", "--quiet", *options, *names],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as command:
            try:
                command.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                command.kill()
