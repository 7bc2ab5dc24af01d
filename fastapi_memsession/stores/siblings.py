"""Notices that several workers of one server keep sessions in memory, each its own.

Workers of `uvicorn --workers`, gunicorn and the like share parent, user, folder and command line.
The first of them takes a lock on a file named after these; it keeps it until it dies, however it
dies. Whoever finds it taken has a sibling. A single worker, also one that is reloaded, does not.
"""

import atexit
import hashlib
import logging
import os
import sys
import tempfile
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no such locks: nothing is noticed there
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("fastapi_memsession")

_held: dict[int, int] = {}
"""Process id -> open file that holds the lock, for as long as the process lives."""


def warn_of_siblings() -> None:
    """Log a warning if another worker of this server started before this one."""
    if os.getpid() in _held or fcntl is None:
        return
    try:
        path = _lock_path()
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return  # no folder for such files: nothing can be noticed, and nothing is harmed
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        logger.warning(
            "Several workers keep sessions in memory, each its own: a user who logs in on one is "
            "logged out on the next request that another one answers. Run one worker, or set "
            "MEMSESSION_PROVIDER=redis."
        )
    else:
        _held[os.getpid()] = file
        atexit.register(path.unlink, missing_ok=True)


def _lock_path() -> Path:
    family = [os.getppid(), os.getuid(), Path.cwd(), sys.argv]
    name = hashlib.sha256(repr(family).encode()).hexdigest()[:32]
    return Path(tempfile.gettempdir()) / f"fastapi-memsession-{name}.lock"
