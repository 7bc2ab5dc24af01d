"""Programs that the tests need and pip does not bring: look for one, and let Debian install it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable


def provide(find: Callable[[], str | None], install: Callable[[], bool], advice: str) -> int:
    """Print the path of a program, installing it if that can be done; return the exit status."""
    path = find() or (find() if install() else None)
    if path is None:
        say("!" * 80, advice, "!" * 80)
        return 1 if os.environ.get("CI") else 0
    sys.stdout.write(f"{path}\n")
    return 0


def rights() -> list[str] | None:
    """Return what must stand before a command for it to run as root; None if nothing helps."""
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "-n"]
    return sudo if shutil.which("sudo") and runs(*sudo, "true") else None


def install(package: str, purpose: str) -> bool:
    """Install a package of Debian's where nobody has to be asked for a password."""
    root = rights() if shutil.which("apt-get") else None
    if root is None:
        return False
    say(f"Installing {package} for {purpose}.")
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    runs(*apt, "update")  # may fail for a source that is not needed here
    return runs(*apt, "install", "-y", "--no-install-recommends", package)


def runs(*command: str) -> bool:
    """Run a command; return whether it succeeded."""
    # Its output goes to stderr: the scripts' own is one path, and may be captured.
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0


def say(*lines: str) -> None:
    """Tell the developer."""
    sys.stderr.write("".join(f"{line}\n" for line in lines))
