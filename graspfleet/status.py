"""`graspfleet status`: the state of a running learner."""

import contextlib
import json
import time
from typing import Annotated

from pydantic import Field

from graspfleet.common.errors import ConfigError, ProtocolError
from graspfleet.common.messages import Status
from graspfleet.common.net.control import ControlSubscriber
from graspfleet.common.protocol import decode
from graspfleet.common.runtime.metric_rows import Row, read_rows
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.settings.files import load_yaml
from graspfleet.common.settings.flags import parse
from graspfleet.common.settings.section import Positional, Spelling
from graspfleet.common.settings.transport import Host, KeysConfig, TransportConfig

AUDIT = ("produced", "inserted", "rejected", "duplicates", "gaps", "resent", "lost")
"""Counters that account for every transition; see docs/metrics.md."""


class StatusFlags(KeysConfig):
    """Show the state of a running learner."""

    run_dir: Annotated[str | None, Positional("RUN_DIR")] = Field(None, description="Directory of the run.")
    learner: Host = Field("127.0.0.1", description="Host of the learner if RUN_DIR is not given.")
    control_port: int = Field(
        5557, ge=1, le=65_535, description="Control port of the learner if RUN_DIR is not given."
    )
    timeout_s: float = Field(5.0, gt=0, description="Seconds to wait for an answer.")
    json_output: Annotated[bool, Spelling("json")] = Field(False, description="Print one JSON object.")


def read_status(control: ControlSubscriber) -> Status | None:
    """Return the next status; None if there is none, or if the next message is of another kind.

    Raises:
        ConfigError: the learner uses another protocol version.
    """
    frame = control.receive()
    if frame is None:
        return None
    try:
        message = decode(frame)
    except ProtocolError as error:
        if error.reason == "version":
            raise ConfigError(f"the learner uses protocol {error}; allowed: the same release") from None
        return None
    return message if isinstance(message, Status) else None


def main(argv: list[str]) -> int:
    """Run the command; return its exit status."""
    flags = parse(StatusFlags, argv, prog="graspfleet status")
    host, port = flags.learner, flags.control_port
    if flags.run_dir is not None:
        endpoints = RunDirectory(flags.run_dir).read_endpoints()
        host, port = endpoints.local_host, endpoints.control_port
    with ControlSubscriber(TransportConfig(**_keys(flags))) as control:
        control.connect(host, port)
        deadline_s = time.monotonic() + flags.timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            if control.wait(left_s) and (status := read_status(control)) is not None:
                print(json.dumps(status.model_dump()) if flags.json_output else describe(status))
                return 0
        lookup_error = control.lookup_error
    if lookup_error is not None and flags.run_dir is None:
        raise ConfigError(f"--learner {lookup_error}; allowed: a host name or address")
    name = f"RUN_DIR {flags.run_dir}" if flags.run_dir is not None else f"--learner {host}:{port}"
    raise ConfigError(
        f"{name}: no learner answered within {flags.timeout_s:g} s (--timeout-s);"
        " is it running with the same --keys?"
    )


def _keys(flags: StatusFlags) -> dict[str, str | bool | None]:
    """Return the settings of the keys: those of the flags, or else the folder in the run's settings."""
    said = {name: getattr(flags, name) for name in KeysConfig.model_fields}
    if flags.run_dir is not None and not any(said.values()):
        settings = load_yaml(RunDirectory(flags.run_dir).config, "RUN_DIR").get("transport")
        said["keys"] = settings.get("keys") if isinstance(settings, dict) else None
    return said


def audit(run: RunDirectory) -> str:
    """Return the audit of a run's transitions as one line, from the last complete row of its metrics."""
    last: Row | None = None
    with contextlib.suppress(OSError):
        for row in read_rows(run.metrics):
            last = row if all(name in row for name in AUDIT) else last
    if last is None:
        return "no transitions received"
    return ", ".join(f"{name} {last[name]:,}" for name in AUDIT) + f"; {_in_words(last)}"


def _in_words(row: Row) -> str:
    """Return a description of an audit's counters."""
    lost, twice = (int(row[name]) for name in ("lost", "duplicates"))
    told = f"{lost:,} batches lost" if lost else "nothing lost"
    if twice:  # an actor without a timely acknowledgement resends a batch even if it has arrived
        told += f"; {twice:,} batches arrived twice and were inserted once"
    return told


def describe(status: Status) -> str:
    """Return a status as text for the user."""
    metrics = status.metrics
    lines = [f"state              {status.state}"]
    if metrics.get("insecure"):
        lines.append("warning            --insecure: unencrypted and unauthenticated")
    shown = (
        *("env_steps", "updates", "env_steps_per_s", "updates_per_s", "samples_per_insert"),
        *(*AUDIT, "discarded", "refused_actors"),
        *(
            "weights_version",
            "policy_lag",
            "episode_return",
            "episode_success",
            "eval_return",
            "eval_success",
        ),
    )
    lines += [f"{name:18} {metrics[name]:,.6g}" for name in shown if name in metrics]
    lines += [f"actor {name:12} {state}" for name, state in sorted(status.actors.items())]
    lines += [f"evaluator {name:8} {state}" for name, state in sorted(status.evaluators.items())]
    lines += [f"refused {name:10} {reason}" for name, reason in sorted(status.refused.items())]
    return "\n".join(lines)
