"""Arm the fault in any Python that starts with this folder on PYTHONPATH, but not in its children.

STRIKE_ROOT=/folder STRIKE_LOG=/file STRIKE_NUMBER=7 STRIKE_FAULT=kill \\
PYTHONPATH=tests/faults/fault_injection ./run.sh
"""

import os
from pathlib import Path

from inject_fault import arm

if root := os.environ.pop("STRIKE_ROOT", ""):
    arm(
        Path(root),
        Path(os.environ["STRIKE_LOG"]),
        int(os.environ.get("STRIKE_NUMBER", "0")),
        os.environ.get("STRIKE_FAULT", "kill"),
        os.environ.get("STRIKE_MATCH", ""),
    )
