"""Find the Chromium that the browser tests drive; as a script, make sure that there is one."""

import os
import shutil
import subprocess
import sys

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
ADVICE = (
    "The browser tests need Chromium or Google Chrome, and none was found. Install one "
    "(Debian: apt-get install chromium; macOS: brew install --cask chromium; others: "
    "https://www.google.com/chrome), or let CHROMIUM name its program."
)


def find() -> str | None:
    """Return the path of a Chromium or Chrome, None without one; CHROMIUM overrules the search."""
    chosen = os.environ.get("CHROMIUM")
    names = (chosen,) if chosen else NAMES
    return next((path for path in map(shutil.which, names) if path), None)


def main() -> int:
    """Print the path of the browser, installing it if that can be done; return the exit status."""
    path = find() or (find() if _install() else None)
    if path is None:
        _say("!" * 80, ADVICE, "!" * 80)
        return 1 if os.environ.get("CI") else 0
    sys.stdout.write(f"{path}\n")
    return 0


def _install() -> bool:
    """Install Debian's Chromium where nobody has to be asked for a password."""
    if os.environ.get("CHROMIUM") or not shutil.which("apt-get"):
        return False
    rights = _rights()
    if rights is None:
        return False
    _say("Installing Chromium for the browser tests.")
    apt = [*rights, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    _runs(*apt, "update")  # may fail for a source that is not needed here
    return _runs(*apt, "install", "-y", "--no-install-recommends", "chromium")


def _rights() -> list[str] | None:
    """Return what must stand before a command for it to run as root; None if nothing helps."""
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "-n"]
    return sudo if shutil.which("sudo") and _runs(*sudo, "true") else None


def _runs(*command: str) -> bool:
    # Its output goes to stderr: this script's own is one path, and may be captured.
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0


def _say(*lines: str) -> None:
    sys.stderr.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
