"""Serve the example application: `python -m example_app`. HOST and PORT say where."""

import contextlib
import os
import re
import socket
import sys
from typing import NoReturn

from fastapi_memsession import SettingsError

try:
    import uvicorn
except ModuleNotFoundError:
    sys.exit("The example app is served by uvicorn, which is missing. Run: pip install uvicorn")

_WRONG_SETTING = 2  # an exit status of its own, to tell it from a failure
_LARGEST_PORT = 65535


def main() -> None:
    """Serve the application until interrupted."""
    listener = _listen(os.environ.get("HOST") or "127.0.0.1", _read_port())
    try:
        # Not at the top: this reads the settings, and may have to say something about them.
        from example_app.main import PASSWORD, USERNAME, app  # noqa: PLC0415
    except SettingsError as error:
        _refuse(str(error))
    host, port = listener.getsockname()[:2]
    sys.stdout.write(
        f"Open {_url(host, port)} and log in as {USERNAME} with password {PASSWORD}.\n"
    )
    sys.stdout.flush()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """Let clients in before anyone is told of the URL; they wait until the server runs."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        sys.exit(f"Cannot listen at {_url(host, port)}: {error.strerror}. Set HOST or PORT.")


def _read_port() -> int:
    """Return the number in PORT; 0 lets the system choose one that is free."""
    text = os.environ.get("PORT") or "8000"
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > _LARGEST_PORT:
        _refuse(f"PORT must be a number from 0 to {_LARGEST_PORT}, not {text!r}.")
    return int(text)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _refuse(reason: str) -> NoReturn:
    sys.stderr.write(f"{reason}\n")
    sys.exit(_WRONG_SETTING)


if __name__ == "__main__":
    main()
