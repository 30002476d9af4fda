"""Number of connections within the system's limit on open files."""

import resource

from graspfleet.common.settings.transport import TransportConfig

RESERVED_FILES = 256
"""File descriptors reserved for other uses: the replay, checkpoints, logs, libzmq itself."""
FILES_PER_CONNECTION = 2
"""File descriptors per connection: libzmq's and a duplicate."""


def allow_connections(config: TransportConfig) -> int:
    """Raise this process's limit on open files to the maximum; return how many connections it allows.

    Without the reserved descriptors, a flood of connections would leave none for the next checkpoint.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most == resource.RLIM_INFINITY:
        return config.max_connections
    return min(config.max_connections, max(3, (most - RESERVED_FILES) // FILES_PER_CONNECTION))
