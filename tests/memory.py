"""Peak memory of a script that runs in a process of its own."""

import subprocess
import sys

import pytest

# `ru_maxrss` of a child starts from the peak of the process that forked it, so it says nothing about a child of a large
# process. The high-water mark in /proc starts again with the child's own memory.
PEAK = """
import re as _re
from pathlib import Path as _Path

def peak() -> float:
    \"\"\"Peak memory of this process so far, in MiB.\"\"\"
    return int(_re.search(r"VmHWM:\\s+(\\d+)", _Path("/proc/self/status").read_text())[1]) / 1024
"""

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")


def printed(script: str, *arguments: object, timeout: float = 300) -> list[float]:
    """Run a script, which may call `peak()`, and return the numbers in its last line."""
    command = [sys.executable, "-c", PEAK + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return [float(number) for number in done.stdout.splitlines()[-1].split()]
