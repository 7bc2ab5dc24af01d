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
from fastapi_memsession.errors import ClientReason, Lack

SESSION, OPTIONAL, REFRESH = "SessionToken", "OptionalSessionToken", "RefreshToken"
"""Names of the placeholders: a session is needed, or used if there is one; a refresh token is."""

Schemes = Mapping[str, Any]

_BEARER = "The token from the header `Authorization` of the answer to a login."
_DETAIL: dict[str, Any] = {"detail": {"type": "string"}}
_MORE: dict[HTTPStatus, dict[str, Any]] = {
    HTTPStatus.UNAUTHORIZED: {"reason": {"type": "string", "enum": list(get_args(ClientReason))}},
    HTTPStatus.FORBIDDEN: {
        "reason": {"type": "string", "enum": list(get_args(Lack))},
        "max_age": {"type": "number"},
    },
}


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
        refresh_carrier: likewise.
    """

    def __init__(
        self,
        make: Callable[[], dict[str, Any]],
        carrier: TokenCarrier,
        refresh_carrier: TokenCarrier | None,
    ) -> None:
        self._make = make
        self._carriers = carrier, refresh_carrier

    def __call__(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        schema = self._make()
        expand(schema, *self._carriers)
        return schema


def describe(app: FastAPI, carrier: TokenCarrier, refresh_carrier: TokenCarrier | None) -> None:
    """Let the description of an application tell its carriers, whoever makes it.

    And those of the applications mounted in it that have no set-up of their own.
    """
    if not isinstance(app.openapi, Description):
        description = Description(app.openapi, carrier, refresh_carrier)
        app.openapi = description  # type: ignore[method-assign]
    for route in app.routes:
        inner = route.app if isinstance(route, Mount) else None
        if isinstance(inner, FastAPI) and not hasattr(inner.state, "sessions"):
            describe(inner, carrier, refresh_carrier)


def expand(
    schema: dict[str, Any], carrier: TokenCarrier, refresh_carrier: TokenCarrier | None
) -> None:
    """Replace placeholders by the security schemes of a carrier, and add the answers to expect.

    Changes the schema in place, as FastAPI keeps it; what is expanded already stays. Answers that
    the application describes itself stay, too.

    Args:
        schema: an OpenAPI document.
        carrier: the application's. One without `security_schemes` leaves the placeholders.
        refresh_carrier: likewise; with None, nothing asks for a refresh token.
    """
    known = schema.get("components", {}).get("securitySchemes", {})
    session: Schemes = getattr(carrier, "security_schemes", {})
    refresh: Schemes = getattr(refresh_carrier, "security_schemes", {})
    refresh = {f"Refresh{name}": scheme for name, scheme in refresh.items()}
    instead = {SESSION: session, OPTIONAL: session} if session else {}
    if refresh or refresh_carrier is None:
        instead[REFRESH] = refresh
    if known.keys() & {SESSION, OPTIONAL, REFRESH}:
        _expand(schema, instead)
        for name in known.keys() & instead.keys():
            del known[name]
            known.update(instead[name])


def _expand(node: Any, instead: Mapping[str, Schemes]) -> None:
    if isinstance(node, list):
        for each in node:
            _expand(each, instead)
    elif isinstance(node, dict):
        for each in node.values():
            _expand(each, instead)
        asked = node.get("security")
        if isinstance(asked, list):
            names = {name for each in asked if isinstance(each, dict) for name in each}
            if names & {SESSION, OPTIONAL} and "responses" in node:
                _describe(node["responses"], needed=SESSION in names)
            if names & instead.keys():
                node["security"] = _alternatives(asked, instead)


def _alternatives(
    asked: list[dict[str, Any]], instead: Mapping[str, Schemes]
) -> list[dict[str, Any]]:
    others = [each for each in asked if not each.keys() & instead.keys()]
    placeholders = {name for each in asked for name in each.keys() & instead.keys()}
    names = dict.fromkeys(name for each in sorted(placeholders) for name in instead[each])
    found = others + [{name: []} for name in names]
    return [*found, {}] if placeholders == {OPTIONAL} and not others else found


def _describe(responses: dict[str, Any], *, needed: bool) -> None:
    answers = {
        HTTPStatus.BAD_REQUEST: "Two tokens came, and they differ",
        HTTPStatus.UNAUTHORIZED: "No session, or it has ended",
        HTTPStatus.FORBIDDEN: "The session may not do this, or another origin's page asks for it",
        HTTPStatus.SERVICE_UNAVAILABLE: "The store of the sessions cannot answer; try again",
    }
    if not needed:
        del answers[HTTPStatus.UNAUTHORIZED]
    for status, text in answers.items():
        code = str(status.value)
        if not responses.keys() & {code, f"{code[0]}XX", "default"}:
            told = _DETAIL | _MORE.get(status, {})
            problem = {"type": "object", "properties": told, "required": ["detail"]}
            content = {"application/json": {"schema": problem}}
            responses[code] = {"description": text, "content": content}
