"""Session: reads show this request's own writes, writes are atomic, the ended stays ended."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

from fastapi_memsession import (
    LockTimeout,
    SessionDataError,
    SessionEnded,
    SessionKey,
    SessionTooLarge,
    SessionUsageError,
)
from fastapi_memsession.records import new_session_id
from tests.conftest import START

DAY = 86_400


class Cart(BaseModel):
    items: list[str]
    at: datetime


@pytest.fixture
async def session(provider):
    login = await provider.login("anna", claims={"role": "admin"}, data={"n": 1, "a": "x"})
    return login.session


@pytest.fixture
def again(provider, session):
    """Open the same session as another request would."""

    async def again():
        token = provider.tokens.encode(
            SessionKey(session.user_id, session.id),
            {},
            issued_at=session.claims.issued_at,
            expires_at=session.claims.expires_at,
        )
        return await provider.open(token)

    return again


async def test_it_says_who_and_when(session, clock):
    """What the login gave, and the times of the record."""
    assert (session.user_id, len(session.id)) == ("anna", 43)
    assert (session.created_at, session.last_seen_at) == (START, START)
    assert session.expires_at == START + DAY
    assert session.claims.user_id == "anna"
    assert session.claims.data == {"role": "admin"}
    assert (session.claims.issued_at, session.claims.expires_at) == (START, START + 30 * DAY)


async def test_get_and_all_read(session):
    """A default for what is not there; all in the order of keys."""
    assert await session.get("a") == "x"
    assert await session.get("none") is None
    assert await session.get("none", 5) == 5
    assert list((await session.all()).items()) == [("a", "x"), ("n", 1)]


async def test_get_validates_into_a_type(session):
    """Also a list of models; a default is given as it is."""
    cart = Cart(items=["tea"], at=datetime(2026, 1, 1, tzinfo=UTC))
    await session.update({"cart": cart, "carts": [cart]})
    assert await session.get("cart", as_=Cart) == cart
    assert await session.get("carts", as_=list[Cart]) == [cart]
    assert await session.get("none", as_=Cart) is None
    assert await session.get("none", "default", as_=Cart) == "default"
    with pytest.raises(SessionDataError):
        await session.get("n", as_=Cart)


async def test_every_write_is_stored_and_seen(session, again):
    """By this request at once, by the next one too."""
    await session.set("s", {"deep": [1]})
    await session.update({"u": 1, "v": None})
    await session.delete("a")
    await session.delete("a")
    assert await session.pop("n") == 1
    assert await session.pop("n", "gone") == "gone"
    assert await session.setdefault("d", [1]) == [1]
    assert await session.setdefault("d", [2]) == [1]
    assert await session.incr("c") == 1
    assert await session.incr("c", 41) == 42
    assert await session.incr("f", 0.5) == 0.5
    expected = {"c": 42, "d": [1], "f": 0.5, "s": {"deep": [1]}, "u": 1, "v": None}
    assert await session.all() == expected
    assert await (await again()).all() == expected


async def test_nothing_is_aliased(session):
    """Neither what was handed in nor what is handed out."""
    value = {"list": [1]}
    await session.set("v", value)
    value["list"].append(2)
    (await session.get("v"))["list"].append(3)
    (await session.all())["v"]["list"].append(4)
    assert await session.get("v") == {"list": [1]}


async def test_reads_are_of_this_request_until_it_asks(session, again):
    """Others' writes are seen by reload and by the atomic verbs."""
    other = await again()
    await other.set("n", 5)
    assert await session.get("n") == 1
    assert await session.incr("n") == 6
    assert await session.get("n") == 6
    await other.set("a", "y")
    await session.reload()
    assert await session.all() == {"a": "y", "n": 6}


async def test_different_keys_do_not_disturb_each_other(session, again):
    """A write takes its own key with it and no other."""
    other = await again()
    await asyncio.gather(session.set("mine", 1), other.set("theirs", 2))
    await session.reload()
    assert await session.all() == {"a": "x", "n": 1, "mine": 1, "theirs": 2}


async def test_compare_and_set_compares_what_is_stored(session):
    """1 is not 1.0, order counts, an absent key is None."""
    assert not await session.compare_and_set("n", 1.0, 2)
    assert not await session.compare_and_set("n", True, 2)
    assert await session.compare_and_set("n", 1, {"x": 1, "y": 2})
    assert not await session.compare_and_set("n", {"y": 2, "x": 1}, 3)
    assert await session.compare_and_set("new", None, 1)
    assert await session.all() == {"a": "x", "n": {"x": 1, "y": 2}, "new": 1}


async def test_a_failed_comparison_shows_what_is_there(session, again):
    """So that a loop around get and compare_and_set comes to an end."""
    await (await again()).set("n", 10)
    tries = 0
    while not await session.compare_and_set("n", seen := await session.get("n"), seen + 1):
        tries += 1
    assert (tries, await session.get("n")) == (1, 11)
    await (await again()).delete("n")
    assert not await session.compare_and_set("n", 11, 12)
    assert await session.get("n") is None


BAD = [float("nan"), b"\xff", {1}, object(), "\ud800", "x" * 1_000_000]


@pytest.mark.parametrize("value", BAD, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("verb", ["set", "update", "setdefault", "compare_and_set"])
async def test_a_bad_value_changes_nothing(session, again, value, verb):
    """Whatever the verb: an error, and the data are as they were, here and in the store."""
    calls = {
        "set": lambda: session.set("a", value),
        "update": lambda: session.update({"new": 1, "a": value}),
        "setdefault": lambda: session.setdefault("new", value),
        "compare_and_set": lambda: session.compare_and_set("n", 1, value),
    }
    with pytest.raises(SessionDataError):
        await calls[verb]()
    assert await session.all() == await (await again()).all() == {"a": "x", "n": 1}


@pytest.mark.parametrize("key", [None, 1, b"a", ("a",), ["a"], "\ud800"])
async def test_a_bad_key_is_an_error(session, key):
    """For reading and writing alike, also one that no dict can have."""
    for call in (session.get, session.delete, session.pop, session.incr):
        with pytest.raises(SessionDataError, match="session key"):
            await call(key)
    if not isinstance(key, list):
        with pytest.raises(SessionDataError, match="session key"):
            await session.update({key: 1})


async def test_an_empty_key_is_a_key(session):
    """As any other text."""
    await session.set("", 1)
    assert await session.get("") == 1


async def test_size_is_bounded(make_app):
    """Of all data together; at login too."""
    provider = make_app(max_data_bytes=20).state.sessions
    session = (await provider.login("anna", data={"k": "x" * 17})).session
    with pytest.raises(SessionTooLarge) as caught:
        await session.set("b", "")
    assert (caught.value.size, caught.value.limit) == (23, 20)
    assert await session.all() == {"k": "x" * 17}
    with pytest.raises(SessionTooLarge):
        await provider.login("bert", data={"k": "x" * 18})
    assert await provider.count() == 1


@pytest.mark.parametrize("by", [True, "1", None, float("nan"), float("inf")])
async def test_incr_adds_numbers_only(session, by):
    """And refuses the rest before it asks the store."""
    with pytest.raises(SessionDataError):
        await session.incr("n", by)
    assert await session.get("n") == 1


async def test_incr_on_text_changes_nothing(session):
    """An error, not a guess."""
    with pytest.raises(SessionDataError, match="incremented"):
        await session.incr("a")
    assert await session.all() == {"a": "x", "n": 1}


async def test_no_update_is_lost(session, again):
    """Five thousand tasks, some of other requests, count to five thousand."""
    sessions = [session, *[await again() for _ in range(4)]]
    await asyncio.gather(*(each.incr("count") for each in sessions for _ in range(1000)))
    await session.reload()
    assert await session.get("count") == 5000


async def test_a_lock_makes_reading_and_writing_one_step(session, again):
    """Across handles; entering reads what the last holder wrote."""

    async def add_one(handle):
        async with handle.lock():
            value = await handle.get("n")
            await asyncio.sleep(0)
            await handle.set("n", value + 1)

    sessions = [session, *[await again() for _ in range(19)]]
    await asyncio.gather(*(add_one(each) for each in sessions for _ in range(5)))
    await session.reload()
    assert await session.get("n") == 101


async def test_one_handle_may_be_locked_by_several_tasks(session):
    """They wait for each other as other requests do."""
    inside = 0

    async def enter():
        nonlocal inside
        async with session.lock():
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(enter() for _ in range(10)))


async def test_locking_twice_is_an_error_not_a_wait(session):
    """A task cannot wait for itself; afterwards the lock is free again."""
    async with session.lock():
        with pytest.raises(SessionUsageError, match="holds the session's lock already"):
            async with session.lock():
                pytest.fail("two holders")
    async with session.lock():
        pass


async def test_a_session_that_has_a_new_id_is_locked_under_that(session, provider):
    """So that whoever opened it since is kept out."""
    renamed = await provider.store.rename(
        session.record.key, new_session_id(), now=provider.clock()
    )
    async with session.lock():
        await session.set("n", 7)
        with pytest.raises(LockTimeout):
            async with provider.store.lock(renamed.key, timeout=0.01, clock=provider.clock):
                pytest.fail("two holders")
    assert await session.get("n") == 7


async def test_a_lock_needs_a_time(session):
    """A timeout of nothing can never be held."""
    for timeout in (0, -1, float("nan"), float("inf")):
        with pytest.raises(SessionUsageError, match="more than zero"):
            async with session.lock(timeout=timeout):
                pytest.fail("held")


async def test_a_write_under_a_lost_lock_is_refused(session, again, clock):
    """The handle that lost it is told; what the next holder wrote stays."""
    with pytest.raises(LockTimeout):
        async with session.lock(timeout=5):
            clock.advance(5)
            async with (await again()).lock():
                with pytest.raises(LockTimeout):
                    await session.set("n", 2)
    assert await (await again()).get("n") == 1
    await session.set("n", 3)  # after the lock, plain writes are plain again


async def test_a_lost_lock_is_not_another_tasks(session, clock):
    """Two tasks share a handle: the write of the one that dawdled is refused, although the other
    holds the lock by now; and leaving does not take it away from that one."""
    entered, leave, seen = asyncio.Event(), asyncio.Event(), []

    async def dawdle():
        with pytest.raises(LockTimeout):
            async with session.lock(timeout=5):
                clock.advance(5)
                await entered.wait()
                with pytest.raises(LockTimeout):
                    await session.set("a", "late")
                seen.append("refused")
        leave.set()

    async def follow():
        async with session.lock(timeout=5):
            entered.set()
            await leave.wait()
            await session.set("a", "mine")
            clock.advance(5)
            with pytest.raises(LockTimeout):
                await session.set("a", "late too")
            seen.append("guarded")

    first = asyncio.create_task(dawdle())
    await asyncio.wait({first}, timeout=0)
    with pytest.raises(LockTimeout):
        await follow()
    await first
    assert seen == ["refused", "guarded"]
    await session.reload()
    assert await session.get("a") == "mine"


async def test_the_idle_expiration_slides(session, again, clock):
    """Each use begins it anew; a use within the renew interval is not written down."""
    clock.advance(DAY / 20 - 1)
    assert (await again()).expires_at == START + DAY
    clock.advance(1)
    assert (await again()).expires_at == clock() + DAY
    clock.advance(DAY - 0.001)
    assert await again()
    clock.advance(DAY)
    with pytest.raises(SessionEnded):
        await again()


async def test_nothing_extends_the_max_lifetime(session, again, clock):
    """A session in daily use ends after thirty days, to the second (ASVS 7.3.2)."""
    for _ in range(59):
        clock.advance(DAY / 2)
        await (await again()).refresh()
    clock.advance(DAY / 2 - 1)
    assert (await again()).expires_at == START + 30 * DAY
    clock.advance(1)
    with pytest.raises(SessionEnded):
        await session.refresh()


async def test_refresh_extends_now(session, clock):
    """Within the renew interval too; reload does not."""
    clock.advance(5)
    await session.reload()
    assert (session.last_seen_at, session.expires_at) == (START, START + DAY)
    await session.refresh()
    assert (session.last_seen_at, session.expires_at) == (clock(), clock() + DAY)


async def test_a_login_may_live_shorter(provider, clock):
    """Idle and absolute times of one session; it slides by its own measure."""
    login = await provider.login("anna", expiration=60, max_lifetime=timedelta(minutes=2))
    session = login.session
    assert session.expires_at == START + 60
    assert session.claims.expires_at == START + 120
    clock.advance(59)
    await session.refresh()
    assert session.expires_at == START + 119
    clock.advance(59)
    await session.refresh()
    assert session.expires_at == START + 120
    short = await provider.login("anna", max_lifetime=10)
    assert short.session.expires_at == clock() + 10


@pytest.mark.parametrize("name", ["expiration", "max_lifetime"])
@pytest.mark.parametrize("value", [0, -1, 30 * DAY + 1, timedelta(days=31), float("nan"), "60"])
async def test_a_login_cannot_live_longer_than_any_may(provider, name, value):
    """One number for an auditor: MEMSESSION_MAX_LIFETIME."""
    with pytest.raises(SessionUsageError, match="MEMSESSION_MAX_LIFETIME"):
        await provider.login("anna", **{name: value})
    assert await provider.count() == 0


VERBS = {
    "get": lambda s: s.get("a"),
    "all": lambda s: s.all(),
    "set": lambda s: s.set("a", 1),
    "update": lambda s: s.update({}),
    "delete": lambda s: s.delete("a"),
    "pop": lambda s: s.pop("a"),
    "setdefault": lambda s: s.setdefault("a", 1),
    "incr": lambda s: s.incr("n"),
    "compare_and_set": lambda s: s.compare_and_set("n", 1, 2),
    "refresh": lambda s: s.refresh(),
    "reload": lambda s: s.reload(),
    "lock": lambda s: s.lock().__aenter__(),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_after_destroy_every_verb_says_so(session, provider, verb):
    """And what to do; nothing comes back to life."""
    await session.destroy()
    await session.destroy()
    assert session.destroyed
    with pytest.raises(SessionEnded, match=r"login_session\(\)"):
        await VERBS[verb](session)
    assert session.user_id == "anna"
    assert await provider.count() == 0


@pytest.mark.parametrize("verb", set(VERBS) - {"get", "all"})
async def test_a_session_that_another_request_destroyed_takes_no_write(
    session, again, provider, verb
):
    """Reads still show what was loaded; a second destroy is quiet."""
    await (await again()).destroy()
    assert await session.get("n") == 1
    with pytest.raises(SessionEnded, match="log in again"):
        await VERBS[verb](session)
    await session.destroy()
    assert await provider.count() == 0


async def test_a_session_can_be_destroyed_under_its_lock(session, provider):
    """Leaving the lock is then no error."""
    async with session.lock():
        await session.destroy()
    assert await provider.count() == 0


async def test_destroy_wins_every_race(provider):
    """Whatever writes at the same moment, the session is gone and stays gone."""
    for _ in range(200):
        session = (await provider.login("anna", data={"n": 0})).session
        calls = [session.incr("n") for _ in range(3)]
        calls += [session.refresh(), session.destroy(), session.set("a", 1), session.refresh()]
        await asyncio.gather(*calls, return_exceptions=True)
        assert await provider.count() == 0


async def test_no_secret_in_a_repr(session):
    """Neither id nor data: reprs end up in logs."""
    await session.set("secret", "s3cret")
    record = session._record
    for told in (repr(session), repr(record), str(session)):
        assert session.id not in told
        assert "s3cret" not in told
    assert "anna" in repr(session)
    await session.destroy()
    assert "destroyed" in repr(session)
