"""PyBullet, imported without the build-time message that its C code writes to standard error."""

import os

_STDERR = 2
_saved = os.dup(_STDERR)
_null = os.open(os.devnull, os.O_WRONLY)
try:
    os.dup2(_null, _STDERR)
    import pybullet
finally:
    os.dup2(_saved, _STDERR)
    os.close(_saved)
    os.close(_null)

__all__ = ["pybullet"]
