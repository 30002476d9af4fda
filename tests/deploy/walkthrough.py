"""The commands of docs/clusters.md, so that the tests run what the page says."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "clusters.md"


def blocks(heading: str) -> list[str]:
    """Return the console blocks below a heading of the page, in their order."""
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    (section,) = [text for text in sections if text.startswith(f"{heading}\n")]
    return re.findall(r"^```console\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)


def run(
    block: str, folder: Path, environment: Mapping[str, str] | None = None, timeout_s: float = 600.0
) -> str:
    """Run a block in a folder and return what it printed; every one of its commands must succeed."""
    done = subprocess.run(
        ["bash", "-euc", block],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, (
        f"{block}\nstatus {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )
    return done.stdout


def installed(folder: Path) -> dict[str, str]:
    """Put a `graspfleet` command of this source tree into a folder; return the PATH that finds it."""
    command = folder / ".venv" / "bin" / "graspfleet"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m graspfleet "$@"\n')
    command.chmod(0o755)
    return {"PATH": f"{command.parent}:{os.environ['PATH']}"}
