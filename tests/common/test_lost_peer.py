"""A peer that dies while what it sent waits unread: libzmq must not take the learner with it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEARNER = """
import os, subprocess, sys, time
from graspfleet.common.settings.transport import TransportConfig
from graspfleet.common.net.experience import ExperienceReceiver, ExperienceSender

if len(sys.argv) > 1:  # an actor: sends more than fits, until nothing moves any more, and dies
    sender, frame = ExperienceSender(TransportConfig()), bytes(1 << 20)
    sender.connect("127.0.0.1", int(sys.argv[1]))
    moved_s = time.monotonic()
    while time.monotonic() - moved_s < 1.0:
        if sender.send(frame):
            moved_s = time.monotonic()
        time.sleep(0.002)
    os._exit(0)

receiver = ExperienceReceiver(TransportConfig(experience_hwm=2))
port = receiver.bind("127.0.0.1", 0, "experience_port")
subprocess.run([sys.executable, "-c", sys.orig_argv[2], str(port)], check=True, timeout=60)
died_s = time.monotonic()
while time.monotonic() - died_s < 3.0:  # longer than libzmq's own timers, were they on
    time.sleep(0.1)
print("received", receiver.receive() is not None)
"""


def test_a_receiver_outlives_a_sender_that_dies_while_nobody_reads() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEARNER], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "received True\n"), done.stderr
