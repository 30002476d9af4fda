"""Results reach whoever reads them, in any encoding; no closed, broken or full output ends a command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.harness import ROOT

RESULT = """
import sys
from graspfleet.common.runtime.exit import leave_with
def main(argv):
    print("return \\u2212474.49 \\u00b1 15.53 \\u00b7 caf\\u00e9")
    print("x" * 100_000)
    print("last", flush=True)
    return 0
leave_with(main, [])
"""


def python(code: str, redirection: str = "", **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run code in a shell, with a redirection behind it."""
    command = ["bash", "-o", "pipefail", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(command, capture_output=True, check=False, env=environment, timeout=60)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=str,
)
def test_a_result_is_printed_in_any_encoding(variables: dict[str, str]) -> None:
    done = python(RESULT, **variables)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"474.49" in done.stdout
    assert done.stdout.endswith(b"last\n")


def test_what_an_encoding_lacks_stays_readable() -> None:
    done = python(RESULT, PYTHONIOENCODING="ascii")
    assert done.stdout.splitlines()[0] == b"return -474.49 +/- 15.53 | caf?"


PANEL = """
import os, pathlib, sys
from graspfleet.common.runtime.streams import Streams
Streams()
from rich.console import Console
from graspfleet.common.messages import Status
from graspfleet.live import Panel
panel = Panel(1000, pathlib.Path("runs/x"))
panel._console = Console(force_terminal=True, width=100)
with panel:
    panel.show(Status(state="running", metrics={"env_steps": 10, "eval_return": -1.5}, actors={}), 1)
    panel.say("hint: [/red] info['is_success'] \u00b1 1")
"""


def test_the_panel_is_readable_in_ascii() -> None:
    done = python(PANEL, PYTHONIOENCODING="ascii", TERM="xterm")
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode("ascii")
    assert "graspfleet | running" in shown
    assert "hint: [/red] info['is_success'] +/- 1" in shown
    assert "return (evaluated)" in shown
    assert "?" not in shown.replace("\x1b[?25", ""), shown


@pytest.mark.parametrize(
    "redirection", ["", ">&-", "2>&-", ">&- 2>&- <&-", "<&-", "| head -c 5", "2>&1 | true"]
)
def test_a_closed_or_broken_output_is_no_error(redirection: str) -> None:
    done = python(RESULT + "\n", redirection)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_output_is_one_line_and_status_1() -> None:
    done = python(RESULT, "> /dev/full")
    assert (done.returncode, done.stderr) == (1, b"error: standard output: No space left on device\n")


def test_an_error_that_nobody_reads_keeps_its_status() -> None:
    code = RESULT.replace(
        "return 0", "from graspfleet.common.errors import ConfigError; raise ConfigError('no')"
    )
    for redirection in ("2>&-", "2> /dev/full"):
        assert python(code, redirection).returncode == 2


def test_no_file_is_opened_where_a_closed_stream_was(tmp_path: Path) -> None:
    code = RESULT.replace(
        "    print(", f"    import os; file = open({str(tmp_path / 'replay')!r}, 'w'); print(", 1
    )
    code = code.replace("return 0", "os.write(1, b'of a C library'); os.write(2, b'likewise'); return 0")
    assert python(code, "<&- >&- 2>&-").returncode == 0
    assert (tmp_path / "replay").read_bytes() == b""


def test_a_status_of_commands_is_whole_in_ascii() -> None:
    code = (
        "from graspfleet.common.evaluation.statistics import describe\n"
        "from graspfleet.common.runtime.exit import leave_with\n"
        + (
            "def main(argv):\n"
            "    print(describe({'episodes': 2, 'broken': 0, 'mean_return': -1.0, 'std_return': 0.5,"
            " 'success_rate': None, 'mean_length': 20.0}))\n"
            "    return 0\n"
            "leave_with(main, [])"
        )
    )
    done = python(code, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert b"-1.00 +/- 0.50" in done.stdout


@pytest.mark.parametrize(
    "command", [["--help"], ["status", "--help"], ["train", "--help"], ["keys", "--help"]]
)
def test_help_is_printed_in_ascii(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "graspfleet", *command],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"graspfleet" in done.stdout


def test_the_panel_is_drawn_in_ascii() -> None:
    code = (
        "from pathlib import Path; from graspfleet.common.runtime.exit import leave_with\n"
        "from graspfleet.live import Panel\n"
        "from graspfleet.common.messages import Status\n"
        "def main(argv):\n"
        "    panel = Panel(10, Path('r\\u00e9s'))\n"
        "    with panel: panel.show(Status(state='running', metrics={'env_steps': 3}, actors={}), 1)\n"
        "    return 0\n"
        "leave_with(main, [])"
    )
    for variables in ({}, {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}):
        done = python(code, PYTHONIOENCODING="ascii", **variables)
        assert (done.returncode, done.stderr) == (0, b""), done.stderr
        assert b"3/10" in done.stdout
