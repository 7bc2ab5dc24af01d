"""The pages of the example: each may use its own style and script, and talk to this server."""

import base64
import hashlib
import re
from pathlib import Path

_FOLDER = Path(__file__).parent


def page_named(name: str) -> str:
    """Return a page; what all of them have in common heads its style."""
    look = (_FOLDER / "look.css").read_text("utf-8")
    page = (_FOLDER / f"{name}.html").read_text("utf-8")
    return page.replace("<style>\n", f"<style>\n{look}", 1)


def headers_of(page: str) -> dict[str, str]:
    """Return the headers that a page is sent with."""
    return {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _content_security_policy(page),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def _content_security_policy(page: str) -> str:
    """Allow a page its own style and script, by their hashes, and requests to this server."""
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src {_hash_of_element('style', page)}",
            f"script-src {_hash_of_element('script', page)}",
            "connect-src 'self'",  # WebSockets of this server, too (CSP level 3)
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        )
    )


def _hash_of_element(name: str, page: str) -> str:
    (text,) = re.findall(f"<{name}>(.*?)</{name}>", page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
