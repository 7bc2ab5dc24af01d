"""Print the path of a valkey-server: the one on PATH, else the distribution's, fetched by apt.

    python .ci/valkey.py FOLDER

Nothing is installed: packages are unpacked into FOLDER, by an apt that keeps its state there, too.
They come from the distribution's own suite or its backports, on the mirror that this machine uses.
Where there is none, nothing is printed but a reason on stderr, and the status is 0 all the same.
"""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAM = "valkey-server"
PACKAGES = [PROGRAM, "valkey-tools"]
PATIENCE = 300  # seconds for anything that apt does
CONFIGURATION = """
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "{folder}/lists";
Dir::Cache "{folder}/cache";
APT::Sandbox::User "";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Acquire::Languages "none";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


class NotToBeHad(Exception):
    """There is no Valkey for this machine."""


def run(*command: str, folder: Path | None = None) -> str:
    """Return what a command prints."""
    try:
        return subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True, timeout=PATIENCE
        ).stdout
    except subprocess.CalledProcessError as error:
        told = error.stderr.strip().splitlines() or [str(error)]
        raise NotToBeHad(f"{command[0]}: {told[-1]}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotToBeHad(str(error)) from None


def sources() -> str:
    """Return where this machine's distribution lies, as lines of a sources.list."""
    system = platform.freedesktop_os_release()
    name = system.get("VERSION_CODENAME", "")
    fields = "$(REPO_URI) $(RELEASE) $(CODENAME) $(COMPONENT)"
    found = run("apt-get", "indextargets", "--format", fields, "Created-By: Packages")
    mirrors: dict[str, list[str]] = {}
    for uri, *suite, component in map(str.split, found.splitlines()):
        if name and name in suite:
            mirrors.setdefault(uri, []).append(component)
    if not mirrors:
        raise NotToBeHad("no source of this distribution's packages is configured")
    keys = Path(f"/usr/share/keyrings/{system['ID']}-archive-keyring.gpg")
    options = f"[signed-by={keys}] " if keys.exists() else ""
    return "".join(
        f"deb {options}{uri} {suite} {' '.join(dict.fromkeys(components))}\n"
        for uri, components in mirrors.items()
        for suite in (name, f"{name}-backports")
    )


def fetch(folder: Path) -> None:
    """Unpack the packages into the folder."""
    for part in ("lists/partial", "cache/archives/partial", "packages"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(sources())
    (folder / "apt.conf").write_text(CONFIGURATION.format(folder=folder))
    apt = ["apt-get", "--config-file", str(folder / "apt.conf")]
    run(*apt, "update")
    run(*apt, "download", *PACKAGES, folder=folder / "packages")
    for package in (folder / "packages").glob("*.deb"):
        run("dpkg", "-x", str(package), str(folder))


def main(folder: Path) -> None:
    path = shutil.which(PROGRAM)
    if path is None:
        path = str(folder / "usr" / "bin" / PROGRAM)
        try:
            if not Path(path).exists():
                fetch(folder)
            run(path, "--version")
        except (NotToBeHad, OSError) as error:
            sys.stderr.write(f"No Valkey: {error}\n")
            return
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
