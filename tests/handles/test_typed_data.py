"""Session[Cart]: data of a shape, saved by what changed; on both stores."""

import asyncio
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Generic, NotRequired, TypeVar

import pytest
from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    SecretStr,
    computed_field,
    field_serializer,
    model_validator,
)
from typing_extensions import TypedDict

from fastapi_memsession import (
    CurrentSession,
    CurrentSyncSession,
    LockTimeout,
    MemoryStore,
    Session,
    SessionDataError,
    SessionDataMismatch,
    SessionEnded,
    SessionTooLarge,
    SessionUsageError,
    SyncSession,
    get_session,
    login_session,
    session_of,
    sync_session_of,
    typed_session,
)
from fastapi_memsession.shapes import shape_of
from tests import annotations

T = TypeVar("T")


class Cart(BaseModel):
    n: float = 0
    items: list[str] = []
    note: str | None = None
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class CartData:
    n: float = 0
    items: tuple[str, ...] = ()


class CartDict(TypedDict):
    n: float
    items: NotRequired[list[str]]


@pytest.fixture
def cart_session(session) -> Session[Cart]:
    return typed_session(session, Cart)


async def stored(again, session):
    return await (await again(session)).all()


async def test_it_reads_and_saves_a_model(session, cart_session, again):
    """Fields are keys of their own; only those that changed are written."""
    cart = await cart_session.data()
    assert cart == Cart(n=1)
    await cart_session.save(cart)
    assert await stored(again, session) == {"n": 1}
    cart.items.append("tea")
    cart.note = "soon"
    await cart_session.save(cart)
    assert await stored(again, session) == {"n": 1, "items": ["tea"], "note": "soon"}
    assert await session.get("items") == ["tea"]
    cart.note = None
    await cart_session.save(cart)
    assert await stored(again, session) == {"n": 1, "items": ["tea"], "note": None}


async def test_two_requests_that_change_different_fields_lose_nothing(session, again):
    """Whichever is saved last; other keys and plain verbs are not disturbed."""
    one, two = typed_session(session, Cart), typed_session(await again(session), Cart)
    first, second = await one.data(), await two.data()
    first.note, second.items = "mine", ["theirs"]
    await two.save(second)
    await two.incr("n")
    await two.set("other", 1)
    await one.save(first)
    expected = {"n": 2, "note": "mine", "items": ["theirs"], "other": 1}
    assert await stored(again, session) == expected


async def test_what_is_saved_again_is_what_changed_again(cart_session, session, again):
    """A field that was saved once is not written a second time."""
    cart = await cart_session.data()
    cart.note = "mine"
    await cart_session.save(cart)
    await (await again(session)).set("note", "theirs")
    cart.n = 5
    await cart_session.save(cart)
    assert await stored(again, session) == {"n": 5, "note": "theirs"}


async def test_each_read_gives_a_model_of_its_own(cart_session, session, again):
    """And each remembers where it came from, whichever is saved first."""
    one, two = await cart_session.data(), await cart_session.data()
    one.note, two.items = "one", ["two"]
    assert (await cart_session.data()).note is None
    await cart_session.save(one)
    await cart_session.save(two)
    assert await stored(again, session) == {"n": 1, "note": "one", "items": ["two"]}
    assert await cart_session.data() == Cart(n=1, note="one", items=["two"])


async def test_a_handle_may_be_copied(cart_session):
    """As a debugger or a cache may do; the copy is a handle on the same session."""
    other = copy(cart_session)
    await other.set("n", 5)
    assert await cart_session.get("n") == 5


async def test_a_copy_is_compared_with_what_it_was_copied_from(session, cart_session, again):
    """As frozen models need it; so is the copy of a copy."""
    cart = await cart_session.data()
    await (await again(session)).set("note", "theirs")
    await cart_session.reload()
    cart = cart.model_copy(update={"n": 2})
    await cart_session.save(cart)
    await (await again(session)).incr("n")
    cart = cart.model_copy(update={"items": ["tea"]})
    await cart_session.save(cart)
    assert await stored(again, session) == {"n": 3, "note": "theirs", "items": ["tea"]}


async def test_a_new_model_is_compared_with_what_the_request_loaded(session, cart_session, again):
    """Where none was read; what the model says by default is no change."""
    await (await again(session)).set("note", "theirs")
    await cart_session.save(Cart(n=1, items=["tea"]))
    assert await stored(again, session) == {"n": 1, "note": "theirs", "items": ["tea"]}


async def test_models_of_several_shapes_are_kept_apart(session, cart_session, again):
    """Each is compared with one of its own."""
    cart = await cart_session.data()
    await typed_session(session, CartDict).data()
    await cart_session.save(cart.model_copy(update={"note": "mine"}))
    assert await stored(again, session) == {"n": 1, "note": "mine"}


async def test_what_is_remembered_is_bounded(session, cart_session):
    """A WebSocket may read on for ever."""
    carts = [await cart_session.data() for _ in range(50)]
    assert len(session.shared.baselines) == 16
    carts[0].note = "old"
    await cart_session.save(carts[0])
    assert await session.get("note") == "old"


async def test_a_dataclass_is_a_shape(session, again):
    """Its fields are keys, too."""
    view = typed_session(session, CartData)
    data = await view.data()
    assert data == CartData(n=1)
    data.items = ("tea",)
    await view.save(data)
    assert await stored(again, session) == {"n": 1, "items": ["tea"]}


async def test_a_key_that_is_no_longer_there_is_removed(session, again):
    """As only a TypedDict, or a model with extra fields, can tell it."""
    view = typed_session(session, CartDict)
    data = await view.data()
    data["items"] = ["tea"]
    await view.save(data)
    assert await stored(again, session) == {"n": 1, "items": ["tea"]}
    del data["items"]
    await view.save(data)
    assert await stored(again, session) == {"n": 1}


async def test_aliases_are_keys_and_what_is_computed_is_not_stored(session, again):
    """A model that takes no other keys reads what it wrote."""

    class Strict(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        n: int
        at: datetime | None = Field(None, alias="addedAt")

        @computed_field
        @property
        def double(self) -> int:
            return self.n * 2

    view = typed_session(session, Strict)
    data = await view.data()
    data.at = datetime(2026, 1, 1, tzinfo=UTC)
    data.n = 2
    await view.save(data)
    assert await stored(again, session) == {"n": 2, "addedAt": "2026-01-01T00:00:00Z"}
    assert await typed_session(await again(session), Strict).data() == data


async def test_data_that_do_not_fit_are_told_by_field(session, again):
    """Not by value; nothing is changed."""

    class Pair(BaseModel):
        n: list[int]
        m: dict[str, int]
        missing: int

        @model_validator(mode="after")
        def refuse(self):
            raise ValueError("s3cret")

    await session.update({"n": "s3cret", "m": {"s3cret": "s3cret"}})
    with pytest.raises(SessionDataMismatch) as caught:
        await typed_session(session, Pair).data()
    assert caught.value.fields == ("n", "m", "missing")
    told = str(caught.value)
    assert "not fit Pair: n (list_type), m (int_parsing), missing (missing)." in told
    await session.update({"n": [1], "m": {}, "missing": 1})
    with pytest.raises(SessionDataMismatch, match=r"all of it \(value_error\)") as caught:
        await typed_session(session, Pair).data()
    assert caught.value.fields == ("",)
    assert "s3cret" not in told + str(caught.value)
    assert caught.value.__context__ is None
    assert await stored(again, session) == {"n": [1], "m": {}, "missing": 1}


async def test_a_field_that_is_told_writes_no_line_of_the_log(session):
    """A key may be what some client sent: control characters are escaped."""

    class Closed(BaseModel):
        model_config = {"extra": "forbid"}

    await session.set("a\x85Session reused", 1)
    with pytest.raises(SessionDataMismatch, match=r"a\\x85Session reused \(extra_forb") as caught:
        await typed_session(session, Closed).data()
    assert str(caught.value).isprintable()


async def test_it_may_begin_anew(session, again):
    """What the caller made is written whole by the first save, and fits from then on."""

    class Narrow(CartDict):
        __pydantic_config__ = ConfigDict(extra="forbid")

    await session.update({"n": "one", "items": 5, "stray": 1})
    for _ in range(2):
        view = typed_session(session, Narrow, fresh=lambda: {"n": 7})
        assert await view.data() == {"n": 7}
    assert await stored(again, session) == {"n": "one", "items": 5, "stray": 1}
    await view.save(await view.data())
    assert await stored(again, session) == {"n": 7}
    assert await typed_session(await again(session), Narrow).data() == {"n": 7}


async def test_what_does_not_fit_may_be_written_over(session, again):
    """Who saves without reading means all of it; other keys stay."""
    await session.update({"n": "one", "note": "x", "other": 1})
    await typed_session(await again(session), Cart).save(Cart(items=["tea"]))
    after = await stored(again, session)
    expected = {"at": "2026-01-01T00:00:00Z", "items": ["tea"], "n": 0, "note": None, "other": 1}
    assert after == expected


class Odd(BaseModel):
    n: float = 0
    items: list[str] = []
    secret: SecretStr | None = None
    hidden: int = Field(0, exclude=True)
    failing: int = 0

    @field_serializer("failing")
    def fail(self, value: int) -> int:
        return value // (1 - value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"n": float("nan")}, r"n \(float_type\)"),
        ({"items": "s3cret"}, r"items \(list_type\)"),
        ({"items": [{"s3cret": 1}]}, r"items \(string_type\)"),
        ({"secret": SecretStr("s3cret")}, "holds a secret"),
        ({"hidden": 5}, "leave out"),
        ({"failing": 1}, "cannot be written"),
    ],
    ids=str,
)
async def test_bad_data_change_nothing(session, again, change, told):
    """They are refused as a whole; the message names the field, and quotes no value."""
    view = typed_session(session, Odd)
    data = await view.data()
    data.items = ["good"]
    with pytest.raises(SessionDataError, match=told) as caught:
        await view.save(data.model_copy(update=change))
    assert "s3cret" not in str(caught.value)
    assert not isinstance(caught.value, SessionDataMismatch)
    assert await stored(again, session) == {"n": 1}
    await view.save(data)
    assert await stored(again, session) == {"n": 1, "items": ["good"]}


async def test_size_and_depth_are_bounded(session, cart_session, again):
    """As for every value."""

    class Deep(BaseModel):
        deep: list = []

    data = await cart_session.data()
    data.note, data.items = "x", ["x" * 70_000]
    with pytest.raises(SessionTooLarge):
        await cart_session.save(data)
    nested = []
    for _ in range(110):
        nested = [nested]
    with pytest.raises(SessionDataError):
        await typed_session(session, Deep).save(Deep(deep=nested))
    assert await stored(again, session) == {"n": 1}


@pytest.mark.parametrize(
    "model", [int, dict, list[Cart], Cart | None, RootModel[list[int]], Cart()]
)
def test_what_has_no_fields_is_no_shape(model):
    """Told when it is declared, and not by a request."""
    with pytest.raises(SessionUsageError, match="no fields"):
        session_of(model)


def test_a_generic_model_is_a_shape():
    """Given its parameters."""

    @dataclass
    class Box(Generic[T]):
        n: T

    assert shape_of(Box[str]).read({"n": b'"1"'}) == Box("1")
    with pytest.raises(SessionDataMismatch, match="Box: n"):
        shape_of(Box[int]).read({"n": b'"one"'})


async def test_without_a_shape_there_are_no_typed_data(session):
    """An annotation alone does not reach the program; the error says what does."""
    for call in (session.data, lambda: session.save(Cart())):
        with pytest.raises(SessionUsageError, match=r"session_of\(Model\)"):
            await call()


async def test_what_has_ended_has_no_data(session, cart_session, again):
    """A save tells, even if there is nothing to write."""
    cart = await cart_session.data()
    await (await again(session)).destroy()
    with pytest.raises(SessionEnded, match="log in again"):
        await cart_session.save(cart)
    await cart_session.destroy()
    for call in (cart_session.data, lambda: cart_session.save(cart)):
        with pytest.raises(SessionEnded, match=r"login_session\(\)"):
            await call()


async def test_it_is_the_same_session(session, cart_session, again):
    """All that is done by one handle is seen by the other."""
    session.can_send_token = True
    assert isinstance(cart_session, Session)
    assert repr(cart_session) == repr(session)
    await cart_session.set("a", 1)
    await session.set("b", 2)
    assert await cart_session.all() == await session.all() == {"a": 1, "b": 2, "n": 1}
    assert await cart_session.compare_and_set("a", 5, 1) is False
    await (await again(session)).set("c", 3)
    await cart_session.refresh()
    assert await session.get("c") == 3
    await cart_session.confirm()
    await cart_session.update_claims(role="admin")
    assert (session.id, session.confirmed_at) == (cart_session.id, cart_session.confirmed_at)
    assert session.pending_id == cart_session.pending_id != session.id
    assert session.needs_token
    assert session.claims.data == {"role": "admin"}
    other = typed_session(cart_session, CartDict)
    await other.save({"n": 2})
    assert (await cart_session.data()).n == 2
    await other.destroy()
    assert session.destroyed
    assert cart_session.destroyed


async def test_a_lock_is_the_sessions(session, cart_session, again, clock):
    """Taken by either handle, it covers both; entering reads the data again."""
    other = await again(session)
    async with other.lock():
        await other.set("n", 5)
    async with cart_session.lock():
        assert (await cart_session.data()).n == 5
        for handle in (session, cart_session):
            with pytest.raises(SessionUsageError, match="already"):
                async with handle.lock():
                    pytest.fail("twice")
    with pytest.raises(LockTimeout):
        async with session.lock(timeout=5):
            clock.advance(5)
            with pytest.raises(LockTimeout):
                await cart_session.save(Cart(n=6))
    with pytest.raises(LockTimeout):
        async with cart_session.lock(timeout=5):
            clock.advance(5)
            with pytest.raises(LockTimeout):
                await session.set("n", 7)
    assert await stored(again, session) == {"n": 5}


async def test_threads_have_it_too(session, again):
    """A typed session has a blocking twin like any other."""
    twin = SyncSession(typed_session(session, Cart), asyncio.get_running_loop())

    def work():
        cart = twin.data()
        cart.n += 1
        with twin.lock():
            twin.save(cart)
        return twin.data()

    assert await asyncio.to_thread(work) == Cart(n=2)
    assert await stored(again, session) == {"n": 2}


CartSession = Annotated[Session[Cart], Depends(session_of(Cart))]
SyncCartSession = Annotated[SyncSession[CartDict], Depends(sync_session_of(CartDict))]


def application() -> FastAPI:
    app = FastAPI()

    @app.post("/login")
    async def login(request: Request):
        session = await login_session(request, "anna", data={"n": 1})
        await typed_session(session, Cart).save(Cart(n=1, items=["tea"]))

    @app.get("/cart")
    async def cart(session: CartSession) -> Cart:
        return await session.data()

    @app.put("/cart")
    async def put(cart: Cart, session: CartSession):
        await session.save(cart)

    @app.post("/bad")
    async def bad(session: CartSession, kind: str):
        cart = await session.data()
        cart.note = "x" * 70_000 if kind == "large" else "x"
        cart.items = "bad" if kind == "wrong" else cart.items
        await session.save(cart)

    @app.post("/all")
    def everything(
        plain: CurrentSyncSession,
        typed: CartSession,
        claimed: Annotated[Session[Cart], Depends(get_session)],
        sync: SyncCartSession,
        session: CurrentSession,
    ):
        sync.save({"n": 9})
        assert not isinstance(session, SyncSession)
        return [plain.get("n"), claimed is session, typed is not session]

    @app.post("/break")
    async def breaking(session: CurrentSession):
        await session.set("n", "s3cret")

    @app.get("/fresh")
    async def fresh(
        session: Annotated[Session[Cart], Depends(session_of(Cart, fresh=Cart))],
    ) -> Cart:
        return await session.data()

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, session: CartSession):
        await websocket.accept()
        await websocket.send_json((await session.data()).items)

    return app


def test_endpoints_declare_it(serve, log_in):
    """In one line; bad data are answered with 422 and write nothing."""
    client = serve(application())
    assert client.get("/cart").status_code == 401
    headers = log_in(client)
    cart = {"n": 1, "items": ["tea"], "note": None, "at": "2026-01-01T00:00:00Z"}
    assert client.get("/cart", headers=headers).json() == cart
    assert client.put("/cart", headers=headers, json=cart | {"n": 2}).status_code == 200
    assert client.get("/cart", headers=headers).json() == cart | {"n": 2}
    assert client.post("/bad?kind=wrong", headers=headers).status_code == 422
    assert client.post("/bad?kind=large", headers=headers).status_code == 413
    assert client.get("/cart", headers=headers).json() == cart | {"n": 2}
    with client.websocket_connect("/socket", headers=headers) as websocket:
        assert websocket.receive_json() == ["tea"]
    client.post("/break", headers=headers)
    answer = client.get("/cart", headers=headers)
    assert answer.status_code == 422
    assert "s3cret" not in answer.text
    assert client.get("/fresh", headers=headers).json() == cart | {"n": 0, "items": []}


def test_a_request_loads_its_session_once(make_app, log_in):
    """However many handles ask for it, of whatever shape."""
    loads = []

    class Counting(MemoryStore):
        async def load(self, key, **more):
            loads.append(key)
            return await super().load(key, **more)

    client = TestClient(make_app(app=application(), store=Counting()))
    headers = log_in(client)
    loads.clear()
    assert client.post("/all", headers=headers).json() == [9, True, True]
    assert len(loads) == 1


def test_the_annotated_samples_are_an_application():
    """What the type checkers are shown is what FastAPI takes."""
    assert {"/typed", "/bare", "/sync"} <= {route.path for route in annotations.app.routes}
