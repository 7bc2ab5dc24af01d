"""A request from the credential to the headers of the response, whatever kind of response it is."""

import asyncio
import gc
import logging
import weakref

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, HTTPException, Request, Response
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from starlette.background import BackgroundTask

from fastapi_memsession import (
    CurrentSession,
    OptionalSession,
    Session,
    SessionEnded,
    SessionUsageError,
    get_optional_session,
    get_session,
    login_session,
)
from tests.applications import CountingStore, client_of, credential


@pytest.fixture
def store():
    return CountingStore()


@pytest.fixture
def app(make_app, carrier, store, tmp_path):
    """An application that logs in and answers in every way there is."""
    app = make_app(carrier=carrier, store=store)
    file = tmp_path / "file.txt"
    file.write_text("file")

    class CustomError(Exception):
        pass

    @app.exception_handler(CustomError)
    async def handle(request, error):
        return PlainTextResponse("custom", 418)

    async def raise_http():
        raise HTTPException(409, "after login")

    async def raise_custom():
        raise CustomError

    async def stream():
        yield b"one"
        yield b"two"

    kinds = {
        "dict": lambda: {"a": 1},
        "none": lambda: None,
        "json": lambda: JSONResponse({"a": 1}),
        "redirect": lambda: RedirectResponse("/elsewhere"),
        "html": lambda: HTMLResponse("<p>"),
        "stream": lambda: StreamingResponse(stream()),
        "file": lambda: FileResponse(file),
        "empty": lambda: Response(status_code=204),
        "http_exception": raise_http,
        "custom_handler": raise_custom,
        "own_headers": lambda: Response(headers={"Cache-Control": "public", "Vary": "Accept"}),
    }

    @app.post("/login/{kind}")
    async def login(request: Request, kind: str):
        await login_session(request, "anna", claims={"role": "admin"}, data={"n": 1})
        answer = kinds[kind]()
        return await answer if asyncio.iscoroutine(answer) else answer

    async def login_first(request: Request):
        await login_session(request, "anna")

    @app.post("/invalid/{number}", dependencies=[Depends(login_first)])
    async def invalid(number: int):
        return number

    @app.get("/profile")
    async def profile(session: CurrentSession):
        return {"user": session.user_id, "data": await session.all()}

    @app.get("/optional")
    async def optional(session: OptionalSession):
        return session and session.user_id

    @app.post("/logout")
    async def logout(session: Session = Depends(get_session)):
        await session.destroy()

    @app.post("/fail")
    async def fail(request: Request):
        await login_session(request, "bert")
        raise ZeroDivisionError

    @app.get("/untouched")
    async def untouched():
        return "untouched"

    return app


KINDS = [
    "dict", "none", "json", "redirect", "html", "stream", "file", "empty", "http_exception",
    "custom_handler", "own_headers",
]  # fmt: skip


@pytest.mark.parametrize("path", [*(f"/login/{kind}" for kind in KINDS), "/invalid/x"])
def test_a_login_survives_every_kind_of_response(app, path):
    """The token arrives with a redirect, a stream, a file, an error and a 422 alike."""
    client = client_of(app, follow_redirects=False)
    response = client.post(path)
    client.cookies.clear()
    assert client.get("/profile", headers=credential(response)).status_code == 200
    assert response.headers["cache-control"] == "no-store"


def test_the_headers_of_the_endpoint_stay(app):
    """Vary is added to; Cache-Control must not let anyone keep what belongs to a user."""
    response = client_of(app).post("/login/own_headers")
    assert response.headers["vary"].startswith("Accept, ")
    assert response.headers["cache-control"] == "no-store"


def test_each_carrier_brings_the_token_its_way(app, carrier):
    """In cookie mode nowhere but in the cookie (ASVS 3.3)."""
    response = client_of(app).post("/login/dict")
    header, cookie = response.headers.get("authorization"), response.headers.get("set-cookie")
    assert (header is not None) == ("header" in carrier)
    assert (cookie is not None) == ("cookie" in carrier)
    assert (
        response.headers["vary"]
        == {
            "header": "Authorization",
            "cookie": "Cookie",
            "header,cookie": "Authorization, Cookie",
        }[carrier]
    )


def test_a_session_from_login_to_logout(app, carrier):
    """Logging in, looking, logging out; the token is dead then and the cookie cleared."""
    client = client_of(app)
    headers = credential(client.post("/login/dict"))
    client.cookies.clear()
    assert client.get("/profile", headers=headers).json() == {"user": "anna", "data": {"n": 1}}
    response = client.post("/logout", headers=headers)
    assert response.status_code == 200
    assert ("Max-Age=0" in response.headers.get("set-cookie", "")) == ("cookie" in carrier)
    response = client.get("/profile", headers=headers)
    told = {"detail": "The session has ended", "reason": "revoked"}
    assert (response.status_code, response.json()) == (401, told)
    assert response.headers["www-authenticate"] == 'Bearer error="invalid_token", reason="revoked"'


def test_no_credential_is_told_apart_by_no_code(app):
    """RFC 6750 section 3.1: no error code when no credential came."""
    response = client_of(app).get("/profile")
    assert (response.status_code, response.json()) == (401, {"detail": "Not authenticated"})
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["cache-control"] == "no-store"
    assert "vary" in response.headers


JUNK = ["x", "a.b.c", "null", "undefined", "x" * 5000, "a.b." + "[" * 990, "%00", "é", "'; --"]


@pytest.mark.parametrize("junk", JUNK)
def test_junk_is_one_401(app, carrier, store, junk, caplog):
    """The same body for every cause, nothing in the log, and the store is not asked."""
    name, value = ("Cookie", f"session_token={junk}")
    if "header" in carrier:
        name, value = ("Authorization", f"Bearer {junk}")
    client = client_of(app)
    for path in ("/profile", "/optional"):
        response = client.get(path, headers={name: value.encode("latin-1")})
        if path == "/profile":
            assert (response.status_code, response.json()) == (401, {"detail": "Not authenticated"})
            assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        else:
            assert (response.status_code, response.json()) == (200, None)
    assert store.calls == 0
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_a_swapped_token_is_forged_and_one_past_its_deadline_is_over(app, store, clock):
    """The payload of one under the signature of another learns nothing; neither asks the store."""
    client = client_of(app)
    one, two = (credential(client.post("/login/dict")) for _ in range(2))
    client.cookies.clear()
    ((name, first),), ((_, second),) = one.items(), two.items()
    swapped = ".".join([*first.split(".")[:2], second.split(".")[2]])
    expected = {"detail": "Not authenticated"}
    calls = store.calls
    response = client.get("/profile", headers={name: swapped})
    assert (response.status_code, response.json()) == (401, expected)
    clock.advance(30 * 86_400)
    response = client.get("/profile", headers={name: second})
    told = {"detail": "The session has ended", "reason": "expired"}
    assert (response.status_code, response.json()) == (401, told)
    assert store.calls == calls


def test_an_untouched_request_is_left_alone(app):
    """No header is added where no session was asked for."""
    response = client_of(app).get("/untouched")
    assert not {"vary", "cache-control", "set-cookie", "authorization"} & set(response.headers)


def test_an_unhandled_error_undoes_the_login(app, store):
    """The client never got the token, so the session must not live; the one it had stays."""
    client = client_of(app, raise_server_exceptions=False)
    headers = credential(client.post("/login/dict"))
    client.cookies.clear()
    response = client.post("/fail", headers=headers)
    assert response.status_code == 500
    assert not {"authorization", "set-cookie"} & set(response.headers)
    assert client.get("/profile", headers=headers).json()["user"] == "anna"
    assert asyncio.run(app.state.sessions.count()) == 1


def test_a_login_ends_the_session_it_came_with(app, carrier):
    """With the response, and only that one (ASVS 7.2.4)."""
    client = client_of(app)
    first, other = (credential(client.post("/login/dict")) for _ in range(2))
    client.cookies.clear()
    other = credential(client.post("/login/dict"))
    client.cookies.clear()
    second = credential(client.post("/login/dict", headers=first))
    client.cookies.clear()
    assert client.get("/profile", headers=first).status_code == 401
    assert client.get("/profile", headers=second).status_code == 200
    assert client.get("/profile", headers=other).status_code == 200


def test_a_login_ignores_a_credential_that_is_none(app):
    """A client with an old or broken token can log in again."""
    client = client_of(app)
    for headers in (
        {"Authorization": "Bearer junk"},
        {"Cookie": "session_token=junk"},
        {"Cookie": "session_token=a; session_token=b", "Authorization": "Bearer c"},
    ):
        assert client.post("/login/dict", headers=headers).status_code == 200
        client.cookies.clear()


def test_a_conflict_is_400(make_app):
    """Header and cookie that disagree, or two cookies of one name; told which."""
    app = make_app(carrier="header,cookie")

    @app.get("/")
    async def read(session: OptionalSession):
        return "read"

    client = client_of(app)
    disagree = {"Authorization": "Bearer a", "Cookie": "session_token=b"}
    response = client.get("/", headers=disagree)
    assert response.status_code == 400
    assert response.json() == {"detail": "The request carries two different session tokens."}
    response = client.get("/", headers={"Cookie": "session_token=a; session_token=a"})
    assert response.json() == {"detail": "Two cookies are named session_token."}
    assert response.headers["cache-control"] == "no-store"


def test_one_load_for_any_number_of_dependencies(make_app, store):
    """Shared by get_session, get_optional_session, uncached ones and direct calls."""
    app = make_app(store=store)
    seen = []

    async def audit(session: CurrentSession):
        seen.append(session)

    async def uncached(session: Session = Depends(get_session, use_cache=False)):
        seen.append(session)

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.get("/", dependencies=[Depends(audit), Depends(uncached)])
    async def read(request: Request, one: CurrentSession, two: OptionalSession):
        seen.extend([one, two, await get_session(request), await get_optional_session(request)])

    client = client_of(app)
    headers = credential(client.post("/login"))
    store.loads = 0
    assert client.get("/", headers=headers).status_code == 200
    assert store.loads == 1
    assert len(seen) == 6
    assert len({id(session) for session in seen}) == 1


def test_within_the_request_the_new_session_counts(make_app):
    """After a login get_session gives it; after destroy there is none; a later login is one."""
    app = make_app(carrier="cookie")

    @app.post("/")
    async def work(request: Request):
        assert await get_optional_session(request) is None
        first = await login_session(request, "anna")
        assert await get_session(request) is first
        await first.destroy()
        assert await get_optional_session(request) is None
        with pytest.raises(SessionEnded):
            await get_session(request)
        second = await login_session(request, "bert")
        third = await login_session(request, "carl")
        await second.set("still", "alive")
        return third.id

    client = client_of(app)
    assert client.post("/").status_code == 200
    assert asyncio.run(app.state.sessions.count()) == 1


def test_destroying_the_old_session_does_not_take_the_new_token_away(make_app):
    """An endpoint that ends the session it came with, after logging in anew."""
    app = make_app(carrier="cookie")

    @app.post("/")
    async def work(request: Request, old: OptionalSession):
        await login_session(request, "anna")
        if old:
            await old.destroy()

    client = client_of(app)
    client.post("/")
    response = client.post("/")
    assert "Max-Age=2592000" in response.headers["set-cookie"]
    assert "Max-Age=0" not in response.headers["set-cookie"]


def test_after_the_response_started_a_login_is_refused(make_app):
    """Before the store is touched: no header could bring the token any more."""
    app = make_app()
    caught = []

    async def late(request):
        try:
            await login_session(request, "anna")
        except SessionUsageError as error:
            caught.append(str(error))

    @app.post("/background")
    async def background(request: Request, tasks: BackgroundTasks):
        tasks.add_task(late, request)

    @app.post("/stream")
    async def stream(request: Request):
        async def body():
            yield b"x"
            await late(request)

        return StreamingResponse(body())

    client = client_of(app)
    client.post("/background")
    client.post("/stream")
    assert len(caught) == 2
    assert all("before returning the response" in message for message in caught)
    assert asyncio.run(app.state.sessions.count()) == 0


def test_a_session_can_be_used_and_destroyed_after_the_response_started(make_app):
    """Writes from a background task are stored; a late destroy still ends the session."""
    app = make_app()

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.post("/work")
    async def work(session: CurrentSession):
        async def later():
            await session.set("worked", True)

        return JSONResponse({}, background=BackgroundTask(later))

    @app.post("/end")
    async def end(session: CurrentSession):
        return JSONResponse(await session.all(), background=BackgroundTask(session.destroy))

    client = client_of(app)
    headers = credential(client.post("/login"))
    client.post("/work", headers=headers)
    assert client.post("/end", headers=headers).json() == {"worked": True}
    assert client.post("/end", headers=headers).status_code == 401


def test_dependency_overrides_work(make_app):
    """As for any other dependency, in users' own tests."""
    app = make_app()

    @app.get("/")
    async def read(session: CurrentSession):
        return session

    app.dependency_overrides[get_session] = lambda: "overridden"
    assert client_of(app).get("/").json() == "overridden"


async def test_httpx_works_without_lifespan(app):
    """ASGITransport runs no lifespan; sessions need none."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://testserver") as client:
        headers = credential(await client.post("/login/dict"))
        client.cookies.clear()
        assert (await client.get("/profile", headers=headers)).status_code == 200


@pytest.mark.parametrize("user", ["a b", "a\r\nSet-Cookie: b=c", "\0", "🦊", "ü" * 300, "'\"<>;,"])
def test_odd_user_ids_come_back_as_they_were(make_app, carrier, user):
    """And make no header of their own."""
    app = make_app(carrier=carrier)

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, user, claims={"name": user})

    @app.get("/profile")
    async def profile(session: CurrentSession):
        return [session.user_id, session.claims.data["name"]]

    client = client_of(app)
    response = client.post("/login")
    client.cookies.clear()
    assert len(response.headers.get_list("set-cookie")) == ("cookie" in carrier)
    assert client.get("/profile", headers=credential(response)).json() == [user, user]


def test_vary_names_each_header_once(make_app):
    """Also where both tokens come by one."""
    assert make_app(carrier="cookie", refresh=True).state.sessions.issuer.vary == ("Cookie",)


def test_vary_star_is_enough(make_app):
    """It says more than any name could; a name that is there is not repeated."""
    app = make_app()

    @app.get("/{vary}")
    async def read(vary: str, session: OptionalSession):
        return Response(headers={"Vary": vary})

    client = client_of(app)
    assert client.get("/*").headers["vary"] == "*"
    assert client.get("/authorization").headers["vary"] == "authorization"


@pytest.mark.parametrize("path", ["/login", "/n", "/untouched"])
async def test_a_request_leaves_nothing_to_the_garbage_collector(make_app, path):
    """Whatever belongs to it is gone with it, although what servers send with knows the scope."""
    app = make_app()

    @app.get("/login")
    async def login(request: Request) -> str:
        return (await login_session(request, "anna")).user_id

    @app.get("/n")
    async def n(session: OptionalSession) -> str:
        return session.user_id if session else ""

    @app.get("/untouched")
    async def untouched() -> str:
        return ""

    class Cycle:
        """What a server keeps of one request."""

        def __init__(self, headers):
            self.scope = {"type": "http", "method": "GET", "path": path, "headers": headers}
            self.scope |= {"query_string": b"", "client": ("127.0.0.1", 50_000)}
            self.sent = []

        async def receive(self):
            return {"type": "http.request"}

        async def send(self, message):
            self.sent.append(message)

    async def serve(headers):
        cycle = Cycle(headers)
        await app(cycle.scope, cycle.receive, cycle.send)
        assert [message.get("status", 200) for message in cycle.sent] == [200, 200]
        return weakref.ref(cycle)

    token = (await app.state.sessions.login("anna")).tokens.access
    headers = [(b"authorization", f"Bearer {token}".encode())]
    await serve(headers)  # what is made at the first request stays
    gc.disable()
    try:
        assert (await serve(headers))() is None
    finally:
        gc.enable()
