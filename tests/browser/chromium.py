"""Find the Chromium that the browser tests drive; as a script, make sure that there is one."""

import os
import shutil
import sys

from tests.debian import install, provide

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
    return provide(find, _install, ADVICE)


def _install() -> bool:
    """Install Debian's Chromium, unless another one was asked for."""
    return not os.environ.get("CHROMIUM") and install("chromium", "the browser tests")


if __name__ == "__main__":
    sys.exit(main())
