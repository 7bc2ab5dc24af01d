"""`async with session.alive()`: the block ends with the session, whoever ends it."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from fastapi_memsession import MemoryStore, SessionEnded, SessionUsageError
from fastapi_memsession.records import SessionKey, new_session_id
from tests.alive.conftest import PATIENCE, begin, inside, reason_of, until, vigil_of


async def log_out(provider, session):
    await session.destroy()


async def revoke(provider, session):
    await provider.revoke(session.id, user_id=session.user_id)


async def revoke_all(provider, session):
    await provider.revoke_user(session.user_id)


async def log_in_elsewhere(provider, session):
    await begin(provider, session.user_id)


async def log_in_instead(provider, session):
    await provider.end(session.record.key, reason="replaced")


async def use_a_token_twice(provider, session):
    for generation in (0, 1, 0):
        await provider.store.rotate(session.record.key, generation, now=provider.clock(), grace=0)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (log_out, "revoked"),
        (revoke, "revoked"),
        (revoke_all, "revoked"),
        (log_in_elsewhere, "evicted"),
        (log_in_instead, "replaced"),
        (use_a_token_twice, "reused"),
    ],
)
async def test_a_block_ends_with_its_session(make_provider, end, reason):
    """However that ends; what the block waits for is cancelled, and it is told why."""
    provider = make_provider(max_sessions_per_user=1)
    session = await begin(provider)
    tasks = [await inside(session) for _ in range(3)]
    await end(provider, session)
    assert [await reason_of(task) for task in tasks] == [reason] * 3


async def test_other_sessions_go_on(provider):
    """Also of the same user."""
    one, other = await begin(provider), await begin(provider)
    task, another = await inside(one), await inside(other)
    await provider.revoke(one.id, user_id="anna")
    await reason_of(task)
    assert not another.done()
    await provider.revoke(other.id, user_id="anna")
    await reason_of(another)


async def test_a_new_id_is_followed(provider):
    """Every block goes on, the session writes under the new id, and they end with that."""
    session, renamed = await begin(provider), new_session_id()
    task, other = [await inside(session) for _ in range(2)]
    await provider.store.rename(session.record.key, renamed, now=provider.clock())
    await until(lambda: session.id == renamed)
    assert not task.done()
    assert await session.incr("n") == 1
    await provider.revoke(renamed, user_id="anna")
    assert [await reason_of(each) for each in (task, other)] == ["revoked"] * 2


async def test_a_session_that_is_over_is_not_entered(provider):
    """The error says why."""
    session = await begin(provider)
    await provider.revoke(session.id, user_id="anna")
    task = await inside(session, lambda: pytest.fail("entered"))
    assert await reason_of(task) == "revoked"
    await session.destroy()
    with pytest.raises(SessionEnded, match="destroyed"):
        async with session.alive():
            pytest.fail("entered")


async def test_an_id_that_changes_while_one_enters_is_followed(provider, monkeypatch):
    """Told between the first look and the answer."""
    session, renamed = await begin(provider), new_session_id()
    key, load = session.record.key, provider.store.load

    async def load_late(asked, **options):
        if asked == key:
            await provider.store.rename(key, renamed, now=provider.clock())
            await until(lambda: session.id == renamed)
        return await load(asked, **options)

    monkeypatch.setattr(provider.store, "load", load_late)
    task = await inside(session)
    assert not task.done()
    await provider.revoke(renamed, user_id="anna")
    assert await reason_of(task) == "revoked"


async def test_being_in_a_block_extends_nothing(provider, clock):
    """Neither entering nor staying is a use."""
    session = await begin(provider, expiration=100)
    clock.advance(60)
    task = await inside(session)
    (info,) = await provider.list_sessions("anna")
    assert (info.last_seen_at, info.expires_at) == (clock() - 60, clock() + 40)
    await session.destroy()
    await reason_of(task)


async def test_what_a_block_raises_or_returns_comes_out(provider):
    """As if it were not there."""
    session = await begin(provider)
    with pytest.raises(ZeroDivisionError):
        async with session.alive():
            raise ZeroDivisionError

    async def answer():
        return 42

    assert await (await inside(session, answer)) == 42


async def test_who_left_is_not_interrupted(provider):
    """By whatever ends later."""
    session = await begin(provider)
    async with session.alive():
        pass
    await session.destroy()
    task = asyncio.current_task()
    await begin(provider)
    assert task.cancelling() == 0


@pytest.mark.parametrize("ended", [False, True])
async def test_a_cancellation_by_others_stays_one(provider, ended):
    """Also if the session ends at the same time."""
    session = await begin(provider)
    task = await inside(session)
    if ended:
        watched = vigil_of(provider).sessions[session.id]
        (watch,) = watched.watches
        watch.end("logout")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_block_that_does_not_heed_is_ended_at_its_end(provider):
    """And the task is not left as one that is being cancelled."""
    session = await begin(provider)
    went_on = asyncio.Event()

    async def stubborn():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            went_on.set()

    async def run():
        with pytest.raises(SessionEnded):
            async with session.alive():
                entered.set()
                await stubborn()
        return asyncio.current_task().cancelling()

    entered = asyncio.Event()
    task = asyncio.create_task(run())
    await entered.wait()
    await session.destroy()
    assert await task == 0
    assert went_on.is_set()


async def test_a_block_that_fails_for_being_interrupted(provider):
    """Its own error comes out, and the task is not left as one that is being cancelled."""
    session = await begin(provider)
    cancelling = []

    async def fail():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ZeroDivisionError from None

    async def run():
        try:
            async with session.alive():
                entered.set()
                await fail()
        finally:
            cancelling.append(asyncio.current_task().cancelling())

    entered = asyncio.Event()
    task = asyncio.create_task(run())
    await entered.wait()
    await session.destroy()
    with pytest.raises(ZeroDivisionError):
        await task
    assert cancelling == [0]


async def test_blocks_inside_each_other(provider):
    """The outermost tells."""
    session, other = await begin(provider), await begin(provider)

    async def nested():
        async with other.alive(), session.alive():
            await asyncio.Event().wait()

    task = await inside(session, nested)
    await until(lambda: len(vigil_of(provider).sessions) == 2)
    await session.destroy()
    assert await reason_of(task) == "revoked"


@pytest.mark.parametrize("kind", [asyncio.TaskGroup, anyio.create_task_group])
async def test_tasks_of_a_block_end_with_it(provider, kind):
    """Whose groups they are."""
    session, stopped, started = await begin(provider), [], asyncio.Event()

    async def child():
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(True)

    async def parent():
        async with kind() as group:
            getattr(group, "start_soon", lambda call: group.create_task(call()))(child)
            await asyncio.Event().wait()

    task = await inside(session, parent)
    await started.wait()
    await session.destroy()
    assert await reason_of(task) == "revoked"
    assert stopped == [True]


@pytest.mark.parametrize("end", [log_out, revoke, revoke_all])
async def test_a_block_that_ends_its_own_session(provider, end):
    """Is interrupted as any other, and what it began is done: the event is told."""
    session, events = await begin(provider), []

    @provider.subscribe
    async def listen(event):
        await asyncio.sleep(0)
        events.append((event.kind, event.reason))

    async def body():
        await end(provider, session)
        await asyncio.Event().wait()

    assert await reason_of(await inside(session, body)) == "revoked"
    assert session.destroyed == (end is log_out)  # the response clears the cookie
    await until(lambda: events)
    assert events == [("ended", "logout" if end is log_out else "revoked")]


async def test_a_generator_that_yields_is_refused(provider):
    """It is told what to use; one that is a context manager is none such."""
    session = await begin(provider)

    async def stream():
        async with session.alive():
            yield "never"

    with pytest.raises(SessionUsageError, match="while_alive"):
        await anext(stream())

    @asynccontextmanager
    async def room():
        async with session.alive():
            yield

    async def body():
        async with room():
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await until(lambda: provider.watches._vigils)
    await session.destroy()
    assert await reason_of(task) == "revoked"


async def test_a_thousand_blocks(provider):
    """No task for each, and all end at once."""
    sessions = [await begin(provider, f"user-{n % 50}") for n in range(100)]
    ended = []
    before = len(asyncio.all_tasks())

    async def run():
        async with AsyncExitStack() as stack:
            for session in sessions * 10:
                await stack.enter_async_context(session.alive())
            entered.set()
            await asyncio.Event().wait()

    entered = asyncio.Event()
    task = asyncio.create_task(run())
    async with asyncio.timeout(PATIENCE):
        await entered.wait()
    assert len(asyncio.all_tasks()) <= before + 4
    for n in range(50):
        ended += await provider.revoke_user(f"user-{n}")
    assert len(ended) == 100
    assert await reason_of(task) == "revoked"
    assert provider.watches._vigils == {}


async def test_a_store_that_is_exchanged(provider):
    """As a test may do with `empty_sessions`: each block ends with what is in its own."""
    before, store = await begin(provider), provider.store
    task = await inside(before)
    provider.store = MemoryStore()
    after = await begin(provider)
    another = await inside(after)
    await provider.revoke(after.id, user_id="anna")
    assert await reason_of(another) == "revoked"
    assert not task.done()
    provider.store = store
    await provider.revoke(before.id, user_id="anna")
    assert await reason_of(task) == "revoked"


async def test_a_key_of_another_user_is_not_told(provider):
    """Nor followed."""
    session = await begin(provider)
    task = await inside(session)
    await provider.end(SessionKey("bert", session.id), reason="revoked")
    other = await begin(provider, "bert")
    await other.destroy()
    assert not task.done()
    await session.destroy()
    await reason_of(task)
