"""What the API's description says of sessions: which endpoints need one, and how its token travels.

A dependency is described when a router is written, and which carriers an application has is known
when that is set up: so a dependency names a placeholder, which `expand` replaces. It is valid by
itself, for applications that describe themselves.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, get_args

from fastapi import FastAPI
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.routing import Mount

from fastapi_memsession.carriers import TokenCarrier
from fastapi_memsession.errors import ToldReason

SESSION, OPTIONAL = "SessionToken", "OptionalSessionToken"
"""Names of the placeholders: a session is needed, or used if there is one."""

_BEARER = "The token from the header `Authorization` of the answer to a login."
_DETAIL: dict[str, Any] = {"detail": {"type": "string"}}
_REASON: dict[str, Any] = {"reason": {"type": "string", "enum": list(get_args(ToldReason))}}


class SessionScheme(SecurityBase):
    """A dependency that asks for a session, and a security scheme: FastAPI describes it.

    Args:
        name: which of the placeholders it is.
    """

    def __init__(self, name: str) -> None:
        self.model = HTTPBearer(bearerFormat="JWT", description=_BEARER)
        self.scheme_name = name


class DescribedOnly(SessionScheme):
    """A dependency that does nothing: the endpoint looks for a token by itself."""

    async def __call__(self) -> None:
        """See the class."""


class Description:
    """Makes an application's description of itself, and completes it.

    Args:
        make: makes it without us.
        carrier: see `expand`.
    """

    def __init__(self, make: Callable[[], dict[str, Any]], carrier: TokenCarrier) -> None:
        self._make = make
        self._carrier = carrier

    def __call__(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        schema = self._make()
        expand(schema, self._carrier)
        return schema


def describe(app: FastAPI, carrier: TokenCarrier) -> None:
    """Let the description of an application tell its carrier, whoever makes it.

    And those of the applications mounted in it that have no set-up of their own.
    """
    if not isinstance(app.openapi, Description):
        app.openapi = Description(app.openapi, carrier)  # type: ignore[method-assign]
    for route in app.routes:
        inner = route.app if isinstance(route, Mount) else None
        if isinstance(inner, FastAPI) and not hasattr(inner.state, "sessions"):
            describe(inner, carrier)


def expand(schema: dict[str, Any], carrier: TokenCarrier) -> None:
    """Replace placeholders by the security schemes of a carrier, and add the answers to expect.

    Changes the schema in place, as FastAPI keeps it; what is expanded already stays. Answers that
    the application describes itself stay, too.

    Args:
        schema: an OpenAPI document.
        carrier: the application's. One without `security_schemes` leaves the placeholders.
    """
    known = schema.get("components", {}).get("securitySchemes", {})
    schemes: Mapping[str, Any] = getattr(carrier, "security_schemes", {})
    used = {name for name in (SESSION, OPTIONAL) if name in known}
    if not used:
        return
    _expand(schema, list(schemes))
    if schemes:
        for name in used:
            del known[name]
        known.update(schemes)


def _expand(node: Any, schemes: list[str]) -> None:
    if isinstance(node, list):
        for each in node:
            _expand(each, schemes)
    elif isinstance(node, dict):
        for each in node.values():
            _expand(each, schemes)
        asked = node.get("security")
        if isinstance(asked, list):
            names = {name for each in asked if isinstance(each, dict) for name in each}
            if names & {SESSION, OPTIONAL}:
                if "responses" in node:
                    _describe(node["responses"], needed=SESSION in names)
                if schemes:
                    node["security"] = _alternatives(asked, schemes)


def _alternatives(asked: list[dict[str, Any]], schemes: list[str]) -> list[dict[str, Any]]:
    others = [each for each in asked if not each.keys() & {SESSION, OPTIONAL}]
    found = others + [{name: []} for name in schemes]
    optional = not others and not any(SESSION in each for each in asked)
    return [*found, {}] if optional else found


def _describe(responses: dict[str, Any], *, needed: bool) -> None:
    answers = {
        HTTPStatus.UNAUTHORIZED: "No session, or it has ended",
        HTTPStatus.FORBIDDEN: "The session may not do this, or another origin's page asks for it",
        HTTPStatus.SERVICE_UNAVAILABLE: "The store of the sessions cannot answer; try again",
    }
    if not needed:
        del answers[HTTPStatus.UNAUTHORIZED]
    for status, text in answers.items():
        code = str(status.value)
        if not responses.keys() & {code, f"{code[0]}XX", "default"}:
            told = _DETAIL | (_REASON if status is HTTPStatus.UNAUTHORIZED else {})
            problem = {"type": "object", "properties": told, "required": ["detail"]}
            content = {"application/json": {"schema": problem}}
            responses[code] = {"description": text, "content": content}
