"""LoginAs: log a test's client in, with no password and no login endpoint.

Knows clients as httpx makes them, by what they can do: Starlette's TestClient comes in two kinds.
"""

from collections.abc import Callable, Coroutine, Mapping, MutableMapping
from email.message import Message
from http.cookies import Morsel, SimpleCookie
from typing import Any, Protocol, overload
from urllib.request import Request

from anyio.from_thread import start_blocking_portal
from starlette.datastructures import MutableHeaders

from fastapi_memsession.errors import SessionUsageError
from fastapi_memsession.session import Session
from fastapi_memsession.testing.application import provider_of


class Client(Protocol):
    """What every client has."""

    @property
    def base_url(self) -> Any:
        """The server's address."""
        ...

    @property
    def headers(self) -> MutableMapping[str, str]:
        """What is sent with each request."""
        ...

    @property
    def cookies(self) -> Any:
        """A cookie jar, as `jar`."""
        ...

    @property
    def event_hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """Whom to call with each response."""
        ...

    def build_request(self, method: str, url: Any) -> Any:
        """Make a request and do not send it."""
        ...


class SyncClient(Client, Protocol):
    """A client such as Starlette's TestClient."""

    def close(self) -> None:
        """Let go of connections."""
        ...


class AsyncClient(Client, Protocol):
    """A client such as httpx.AsyncClient with ASGITransport."""

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


class LoginAs:
    """Logs clients in: `login_as(client, "anna")`, `await login_as(async_client, "anna")`."""

    # In this order: to a type checker that does not find what TestClient is made of, it is any
    # client.
    @overload
    def __call__(
        self,
        client: SyncClient,
        user_id: str,
        *,
        claims: Mapping[str, str] | None = None,
        data: Mapping[str, object] | None = None,
        app: object = None,
    ) -> Session: ...
    @overload
    def __call__(
        self,
        client: AsyncClient,
        user_id: str,
        *,
        claims: Mapping[str, str] | None = None,
        data: Mapping[str, object] | None = None,
        app: object = None,
    ) -> Coroutine[Any, Any, Session]: ...
    def __call__(
        self,
        client: Client,
        user_id: str,
        *,
        claims: Mapping[str, str] | None = None,
        data: Mapping[str, object] | None = None,
        app: object = None,
    ) -> Session | Coroutine[Any, Any, Session]:
        """Begin a session, and make the client send its tokens with every request from now on.

        It also sends those that later responses bring instead, as a new pair after a renewal.
        A client that is logged in already changes its user; the session before lives on.

        Args:
            client: Starlette's TestClient; or httpx.AsyncClient, and then the call is awaited.
            user_id: who logs in.
            claims: as of `login_session`.
            data: first values of the session.
            app: the application, if the client does not show which it talks to.

        Returns the session.

        Raises:
            SessionUsageError: there is no application with sessions, or the client would not send
                its cookies there. Nobody was logged in.
            SessionError: whatever else `login_session` raises.
        """
        provider = provider_of(_app_of(client) if app is None else app)

        async def log_in() -> Session:
            agent = client.headers.get("user-agent")
            login = provider.prepare_login(user_id, claims=claims, data=data, user_agent=agent)
            _hand_over(login.headers, client)
            await provider.begin(login)
            return login.session

        if _is_async(client):
            return log_in()
        portal = getattr(client, "portal", None)  # to the loop on which the application runs
        if portal is not None:
            return portal.call(log_in)  # type: ignore[no-any-return]
        with start_blocking_portal() as portal:
            session: Session = portal.call(log_in)
            return session


def _is_async(client: Client) -> bool:
    return hasattr(client, "aclose")


def _app_of(client: Client) -> object:
    transport = getattr(client, "_transport", None)
    app = getattr(client, "app", None) or getattr(transport, "app", None)
    if app is None:
        raise SessionUsageError(
            "login_as() does not see which application this client talks to; "
            "name it: login_as(client, user_id, app=app)."
        )
    return app


def _hand_over(headers: MutableHeaders, client: Client) -> None:
    """Do with the headers of a login what a client does that has got them in a response."""
    names = {name for name in headers if name != "set-cookie" and not name.startswith("access-")}
    client.headers.update({name: headers[name] for name in names})
    if names:
        _keep_up_to_date(names, client)
    cookies = headers.getlist("set-cookie")
    if cookies:
        _set_cookies(cookies, client)


def _keep_up_to_date(names: set[str], client: Client) -> None:
    """Adopt the tokens that later responses bring; cookies need no such care."""

    def adopt(response: Any) -> None:
        client.headers.update(
            {each: response.headers[each] for each in names & set(response.headers)}
        )

    async def adopt_too(response: Any) -> None:
        adopt(response)

    client.event_hooks["response"].append(adopt_too if _is_async(client) else adopt)


def _set_cookies(lines: list[str], client: Client) -> None:
    """Put cookies into the client's jar, by the jar's own rules, and look whether it sends them."""
    cookies = [cookie for line in lines for cookie in SimpleCookie(line).values()]
    if not client.base_url.host:
        raise _not_sent(cookies[0], client)
    request = Request(str(client.base_url))  # noqa: S310 - it goes nowhere
    client.cookies.jar.extract_cookies(_Response(lines), request)
    for cookie in cookies:
        request = client.build_request("GET", client.base_url.join(cookie["path"]))
        if f"{cookie.key}={cookie.value}" not in request.headers.get("cookie", "").split("; "):
            raise _not_sent(cookie, client)


class _Response:
    """As much of a response as a cookie jar looks at."""

    def __init__(self, cookies: list[str]) -> None:
        self._message = Message()
        for line in cookies:
            self._message["Set-Cookie"] = line

    def info(self) -> Message:
        return self._message


def _not_sent(cookie: "Morsel[str]", client: Client) -> SessionUsageError:
    to = f"The application's cookie {cookie.key!r} is not sent to {str(client.base_url)!r}"
    host = cookie["domain"] or client.base_url.host or "testserver"
    scheme = "https" if cookie["secure"] else "http"
    why = ": it is Secure" if cookie["secure"] else ""
    return SessionUsageError(f'{to}{why}. Make the client with base_url="{scheme}://{host}".')
