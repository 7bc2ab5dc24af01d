"""The API's description: which endpoints need a session, and how its token travels."""

from typing import ClassVar

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Security, WebSocket
from fastapi.openapi.utils import get_openapi
from fastapi.security import APIKeyHeader
from fastapi.testclient import TestClient
from typing_extensions import TypedDict

from fastapi_memsession import (
    CurrentSession,
    HeaderCarrier,
    OptionalSession,
    SessionSettings,
    get_optional_session,
    get_session,
    get_sync_session,
    login_session,
    peek_session,
    require,
    session_of,
    session_router,
    setup_sessions,
)

API_KEY = APIKeyHeader(name="X-Key", auto_error=False)
EXTRA = {"x-example": {"security": [1, "SessionToken", ["SessionToken"]]}}
HEADER = {"type": "http", "scheme": "bearer"}
COOKIE = {"type": "apiKey", "in": "cookie", "name": "session_token"}
NAMES = {"header": ["SessionHeader"], "cookie": ["SessionCookie"]}
NAMES["header,cookie"] = NAMES["header"] + NAMES["cookie"]


class Cart(TypedDict):
    items: list[str]


def routes():
    router = APIRouter()

    @router.get("/current")
    async def current(session: CurrentSession) -> str:
        return session.user_id

    @router.get("/sync")
    def sync(session=Depends(get_sync_session)): ...

    @router.get("/peek")
    async def peek(session=Depends(peek_session)): ...

    @router.get("/typed", dependencies=[Depends(session_of(Cart))])
    async def typed(): ...

    @router.get("/gate", dependencies=[Depends(require(role="admin"))])
    async def gate(): ...

    @router.get("/several", dependencies=[Depends(peek_session)])
    async def several(session: CurrentSession, maybe: OptionalSession): ...

    @router.get("/optional")
    async def optional(session: OptionalSession): ...

    @router.get("/key", dependencies=[Security(API_KEY)])
    async def key(session: OptionalSession): ...

    @router.get("/other", dependencies=[Security(API_KEY)], openapi_extra=EXTRA)
    async def other(): ...

    @router.get("/public")
    async def public(): ...

    @router.get("/own", responses={401: {"description": "mine"}, "5XX": {"description": "mine"}})
    async def own(session: CurrentSession): ...

    @router.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @router.websocket("/socket")
    async def socket(websocket: WebSocket, session: CurrentSession): ...

    return router


ROUTES = routes()


def made(**values):
    app = FastAPI()
    setup_sessions(app, SessionSettings(env="test", **values))
    return app


def description(app, path="/openapi.json"):
    answer = TestClient(app).get(path)
    assert answer.status_code == 200
    return answer.json()


def schemes(schema):
    found = schema["components"]["securitySchemes"]
    return {
        name: {key: value for key, value in scheme.items() if key != "description"}
        for name, scheme in found.items()
    }


def security(schema, path, method="get"):
    return schema["paths"][path][method].get("security")


@pytest.mark.parametrize("carrier", NAMES)
def test_each_carrier_is_an_alternative(carrier):
    """On what needs a session; nothing at all is another one where it is optional."""
    app = made(carrier=carrier)
    app.include_router(ROUTES)
    schema = description(app)
    known = {"SessionHeader": HEADER, "SessionCookie": COOKIE}
    expected = {name: known[name] for name in NAMES[carrier]}
    assert schemes(schema) == {"APIKeyHeader": schemes(schema)["APIKeyHeader"], **expected}
    needed = [{name: []} for name in NAMES[carrier]]
    for path in ("/current", "/sync", "/peek", "/typed", "/gate", "/several", "/own"):
        assert security(schema, path) == needed, path
    assert security(schema, "/optional") == [*needed, {}]
    assert security(schema, "/key") == [{"APIKeyHeader": []}, *needed]
    assert security(schema, "/other") == [{"APIKeyHeader": []}]
    assert schema["paths"]["/other"]["get"].items() >= EXTRA.items()
    assert security(schema, "/public") is None
    assert security(schema, "/login", "post") is None


@pytest.mark.parametrize(
    ("values", "scheme"),
    [
        ({"header_name": "X-Session"}, {"type": "apiKey", "in": "header", "name": "X-Session"}),
        (
            {"header_scheme": "Token"},
            {"type": "apiKey", "in": "header", "name": "Authorization"},
        ),
        ({"header_scheme": "bearer"}, HEADER),
        (
            {"carrier": "cookie", "cookie_secure": True},
            COOKIE | {"name": "__Host-session_token"},
        ),
    ],
)
def test_names_are_those_on_the_wire(values, scheme):
    """Of another header, another scheme than Bearer, a cookie that is bound to its host."""
    app = made(**values)
    app.include_router(ROUTES)
    del (found := schemes(description(app)))["APIKeyHeader"]
    assert list(found.values()) == [scheme]


def test_the_answers_are_described():
    """But for those that the application describes itself."""
    app = made()
    app.include_router(ROUTES)
    paths = description(app)["paths"]

    def answers(path, method="get"):
        return paths[path][method]["responses"]

    for path in ("/current", "/peek", "/gate", "/several"):
        assert list(answers(path)) == ["200", "400", "401", "403", "503"], path
    assert list(answers("/optional")) == ["200", "400", "403", "503"]
    assert list(answers("/public")) == ["200"]
    assert list(answers("/login", "post")) == ["200"]
    assert set(answers("/own")) == {"200", "400", "401", "403", "5XX"}
    assert answers("/own")["401"] == {"description": "mine"}
    problem = answers("/current")["401"]["content"]["application/json"]["schema"]
    answer = TestClient(app).get("/current").json()
    assert answer.keys() <= problem["properties"].keys()
    assert set(problem["required"]) <= answer.keys()
    assert "revoked" in problem["properties"]["reason"]["enum"]
    refused = answers("/gate")["403"]["content"]["application/json"]["schema"]["properties"]
    assert refused.keys() == {"detail", "reason", "max_age"}
    assert refused["reason"]["enum"] == ["claims", "confirmation"]


def test_ready_made_routes_are_described():
    """A logout takes a token without asking for a live session."""
    app = made()
    app.include_router(session_router())
    schema = description(app)
    assert security(schema, "/sessions") == [{"SessionHeader": []}]
    assert security(schema, "/logout", "post") == [{"SessionHeader": []}, {}]
    assert schema["paths"]["/logout"]["post"]["responses"].keys() == {"204", "400", "403", "503"}
    assert TestClient(app).post("/logout").status_code == 204


@pytest.mark.parametrize(
    ("carrier", "needed"),
    [
        ("header", {"RefreshSessionHeader": ("header", "X-Refresh-Token")}),
        ("cookie", {"RefreshSessionCookie": ("cookie", "refresh_token")}),
        (
            "header,cookie",
            {
                "RefreshSessionHeader": ("header", "X-Refresh-Token"),
                "RefreshSessionCookie": ("cookie", "refresh_token"),
            },
        ),
    ],
)
def test_the_refresh_token_is_described(carrier, needed):
    """Where the route that takes it is called from the API's page, by a header or cookie."""
    app = made(carrier=carrier, refresh=True)
    app.include_router(session_router())
    schema = description(app)
    assert security(schema, "/refresh", "post") == [{name: []} for name in needed]
    known = schemes(schema)
    for name, (place, spelt) in needed.items():
        assert known[name] == {"type": "apiKey", "in": place, "name": spelt}
    assert "RefreshToken" not in known
    assert security(schema, "/sessions") == [{name: []} for name in NAMES[carrier]]


def test_without_refresh_tokens_none_is_described():
    """The route is there, and answers that there are none."""
    app = made()
    app.include_router(session_router())
    schema = description(app)
    assert not security(schema, "/refresh", "post")
    assert schemes(schema).keys() == {"SessionHeader"}


def test_two_applications_share_routers():
    """Each describes its own carrier."""
    apps = {carrier: made(carrier=carrier) for carrier in NAMES}
    for app in apps.values():
        app.include_router(ROUTES)
    for _ in range(2):
        for carrier, app in apps.items():
            needed = [{name: []} for name in NAMES[carrier]]
            assert security(description(app), "/current") == needed


def test_a_mounted_application_describes_itself():
    """By its own set-up, or by that of the application it is mounted in."""
    outer, inner, bare = made(carrier="cookie"), made(), FastAPI()
    for app in (outer, inner, bare):
        app.include_router(ROUTES)
    outer.mount("/inner", inner)
    outer.mount("/bare", bare)
    assert security(description(outer), "/current") == [{"SessionCookie": []}]
    assert security(description(outer, "/inner/openapi.json"), "/current") == [
        {"SessionHeader": []}
    ]
    assert security(description(outer, "/bare/openapi.json"), "/current") == [{"SessionCookie": []}]


def test_without_a_set_up_the_description_is_valid():
    """Each name that an endpoint asks for is there, and is a scheme."""
    app = FastAPI()
    app.include_router(ROUTES)
    schema = description(app)
    assert schemes(schema)["SessionToken"] == HEADER | {"bearerFormat": "JWT"}
    for operations in schema["paths"].values():
        for operation in operations.values():
            for each in operation.get("security", []):
                assert each.keys() <= schemes(schema).keys()


def test_routes_that_are_added_late_are_described():
    """After the description was asked for once, and made anew."""
    app = made()
    assert "components" not in description(app)
    app.include_router(ROUTES)
    app.openapi_schema = None  # as older versions of FastAPI need it
    assert security(description(app), "/current") == [{"SessionHeader": []}]


def test_the_description_that_fastapi_keeps_is_the_one():
    """What an application adds to it once stays."""
    app = made()
    app.include_router(ROUTES)
    app.openapi()["info"]["x-logo"] = "logo"
    assert app.openapi() is app.openapi_schema
    assert description(app)["info"]["x-logo"] == "logo"
    assert security(description(app), "/current") == [{"SessionHeader": []}]


@pytest.mark.parametrize("when", ["before", "after", "after, calling what was there"])
def test_an_application_that_describes_itself(when):
    """Is helped whenever it does, and may call what it found."""
    app = FastAPI()
    found = None

    def describe():
        if found is not None:
            return found()
        return get_openapi(title="mine", version="1", routes=app.routes)

    if when == "before":
        app.openapi = describe
    setup_sessions(app, SessionSettings(env="test"))
    app.include_router(ROUTES)
    if when != "before":
        found = app.openapi if "calling" in when else None
        app.openapi = describe
    schema = description(app)
    assert security(schema, "/current") == [{"SessionHeader": []}]
    assert "SessionHeader" in schemes(schema)


def test_what_is_asked_for_everywhere_is_expanded():
    """A description may ask for a session at its root, or in a callback."""
    app = FastAPI()

    def describe():
        schema = get_openapi(title="mine", version="1", routes=app.routes)
        schema["security"] = [{"SessionToken": []}]
        return schema

    app.openapi = describe
    setup_sessions(app, SessionSettings(env="test", carrier="cookie"))
    app.include_router(ROUTES)
    schema = description(app)
    assert schema["security"] == [{"SessionCookie": []}]
    assert "responses" not in schema


def test_without_a_description_nothing_is_lost():
    """`openapi_url=None` serves none; the function works all the same."""
    app = FastAPI(openapi_url=None)
    setup_sessions(app, SessionSettings(env="test"))
    app.include_router(ROUTES)
    assert TestClient(app).get("/openapi.json").status_code == 404
    assert security(app.openapi(), "/current") == [{"SessionHeader": []}]


def test_a_carrier_of_ones_own():
    """Describes itself, or leaves what is valid in any case; the answers are described."""

    class Mine(HeaderCarrier):
        security_schemes: ClassVar = {}

    app, settings = FastAPI(), SessionSettings(env="test", refresh=True)
    setup_sessions(app, settings, carrier=Mine(), refresh_carrier=Mine("X-Mine"))
    app.include_router(ROUTES)
    app.include_router(session_router("refresh"))
    schema = description(app)
    assert security(schema, "/current") == [{"SessionToken": []}]
    assert security(schema, "/refresh", "post") == [{"RefreshToken": []}]
    assert "401" in schema["paths"]["/current"]["get"]["responses"]


async def test_dependencies_are_called_as_functions(make_app):
    """By an endpoint's own code, by FastAPI, and overridden."""
    app = make_app()
    app.include_router(ROUTES)

    @app.get("/called")
    async def called(request: Request):
        session = await get_session(request)
        assert await get_optional_session(request) is session
        assert await peek_session(request) is session
        return session.user_id

    client = TestClient(app)
    headers = {"Authorization": client.post("/login").headers["authorization"]}
    assert client.get("/called", headers=headers).json() == "anna"
    assert client.get("/called").status_code == 401

    class Fake:
        user_id = "fake"
        claims = None

    app.dependency_overrides[get_session] = Fake
    assert client.get("/current").json() == "fake"
    assert security(description(app), "/current") == [{"SessionHeader": []}]
