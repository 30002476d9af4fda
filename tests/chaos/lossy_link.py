"""A lossy link between two network namespaces: every packet is delayed, some are dropped.

    python -m tests.chaos.lossy_link --ends gf-l:10.77.0.1 gf-a:10.77.0.2 --delay-s 0.1 --loss 0.05

It creates a TUN device in each namespace and forwards packets between them, so it needs no kernel module
such as netem. Runs until it is killed; the devices disappear with it.
"""

import argparse
import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
DEVICE = "gf-link"
MTU_BYTES = 1500
MAX_QUEUED = 100_000


def open_device(namespace: str, address: str) -> int:
    """Return the file of a new TUN device in a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "addr", "add", f"{address}/24", "dev", DEVICE], check=True)
    subprocess.run(["ip", "link", "set", "dev", DEVICE, "up"], check=True)
    return device


def carry(ends: list[int], delay_s: float, loss: float, rng: random.Random) -> None:
    """Forward packets between two devices forever."""
    order = 0
    flying: list[tuple[float, int, int, bytes]] = []
    while True:
        timeout_s = max(0.0, flying[0][0] - time.monotonic()) if flying else None
        ready, _, _ = select.select(ends, [], [], timeout_s)
        for device in ready:
            packet = os.read(device, MTU_BYTES)
            if rng.random() >= loss and len(flying) < MAX_QUEUED:
                other = ends[1] if device == ends[0] else ends[0]
                order += 1
                heapq.heappush(flying, (time.monotonic() + delay_s, order, other, packet))
        while flying and flying[0][0] <= time.monotonic():
            _, _, device, packet = heapq.heappop(flying)
            os.write(device, packet)


def main() -> int:
    """Create the link and forward packets."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--ends", nargs=2, metavar="NAMESPACE:ADDRESS", required=True)
    parser.add_argument("--delay-s", type=float, default=0.1, help="one way")
    parser.add_argument("--loss", type=float, default=0.05, help="each way")
    options = parser.parse_args()
    ends = [open_device(*end.split(":")) for end in options.ends]
    print("up", flush=True)
    carry(ends, options.delay_s, options.loss, random.Random(0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
