"""Records of a store: made, found, renewed, renamed, ended. See stores/base.py for the contract."""

import asyncio

import pytest

from fastapi_memsession import SessionIdTaken, SessionKey
from fastapi_memsession.records import SessionInfo
from tests.contract.conftest import ODD_TEXTS, create, load

AGES = 1e9


async def test_load_gives_back_what_was_created(store, kept, clock):
    """All fields of a record survive the store."""
    assert await load(store, kept.key, clock) == kept


@pytest.mark.parametrize("user", ODD_TEXTS)
async def test_any_user_id_names_its_own_sessions(store, record, clock, user):
    """A user id may be any text; none is taken for another's."""
    mine, other = record(user), record("anna")
    await create(store, mine, clock)
    await create(store, other, clock)
    assert await load(store, mine.key, clock) == mine
    assert [info.session_id for info in await store.list_user(user, now=clock())] == [
        mine.session_id
    ]
    assert await store.delete_user(user, now=clock(), reason="revoked") == [mine.session_id]
    assert await load(store, other.key, clock) == other


async def test_an_unknown_session_is_absent(store, record, clock):
    """Absence is a value."""
    assert await load(store, record().key, clock) is None


async def test_a_session_of_another_user_is_absent(store, kept, clock):
    """An id alone opens nothing: the user must be its own (ASVS 7.4.1)."""
    key = SessionKey("bert", kept.session_id)
    assert await load(store, key, clock) is None
    assert not await store.delete(key, now=clock(), reason="logout")
    assert await store.change(key, (), now=clock(), max_bytes=1000) is None
    assert await store.rename(key, "new", now=clock()) is None
    assert (await store.rotate(key, 0, now=clock(), grace=10)).outcome == "gone"
    assert await load(store, kept.key, clock) == kept


async def test_create_never_overwrites(store, kept, record, clock):
    """A taken id is an error, and what was there stays."""
    with pytest.raises(SessionIdTaken, match="taken"):
        await create(store, record(session_id=kept.session_id), clock)
    assert await load(store, kept.key, clock) == kept


async def test_a_record_dies_at_its_expiry_and_not_before(store, kept, clock):
    """Live while now < expires_at, to the last instant that a float can tell."""
    clock.advance(99.999)
    assert await load(store, kept.key, clock) is not None
    clock.advance(0.001)
    assert await load(store, kept.key, clock) is None


async def test_a_dead_record_is_absent_for_every_call(store, kept, clock):
    """Nothing can be done with a dead record, swept or not."""
    clock.advance(100)
    now = clock()
    assert await load(store, kept.key, clock, renew=0) is None
    assert await store.change(kept.key, (), now=now, max_bytes=1000) is None
    assert await store.rename(kept.key, "new", now=now) is None
    assert (await store.rotate(kept.key, 0, now=now, grace=10)).outcome == "gone"
    assert not await store.delete(kept.key, now=now, reason="logout")
    assert await store.list_user("anna", now=now) == []
    assert await store.delete_user("anna", now=now, reason="revoked") == []
    assert await store.count(now=now) == 0
    assert [info async for info in store.scan(now=now)] == []


async def test_a_use_extends_the_life(store, kept, clock):
    """Loading with renewal starts the idle expiration again."""
    clock.advance(60)
    renewed = await load(store, kept.key, clock, renew=50)
    assert (renewed.last_seen_at, renewed.expires_at) == (clock(), clock() + 100)
    clock.advance(60)
    assert await load(store, kept.key, clock) == renewed


async def test_a_use_soon_after_the_last_writes_nothing(store, kept, clock):
    """Closer than the renew interval: the record is as it was. At the interval: renewed."""
    clock.advance(19.999)
    assert await load(store, kept.key, clock, renew=20) == kept
    clock.advance(0.001)
    assert (await load(store, kept.key, clock, renew=20)).last_seen_at == clock()


async def test_a_short_session_slides_under_a_long_interval(store, kept, clock):
    """A session is renewed after half its idle expiration, whatever the interval says."""
    clock.advance(50)
    assert (await load(store, kept.key, clock, renew=AGES)).last_seen_at == clock()


async def test_a_look_is_no_use(store, kept, clock):
    """Without an interval a load extends nothing, however late."""
    clock.advance(99)
    assert await load(store, kept.key, clock, renew=None) == kept


async def test_renewal_never_passes_the_deadline(store, kept, clock):
    """The absolute lifetime ends a session that is used all the time (ASVS 7.3.2)."""
    for _ in range(19):
        clock.advance(50)
        renewed = await load(store, kept.key, clock, renew=0)
    assert renewed.expires_at == kept.deadline
    clock.advance(49.999)
    assert await load(store, kept.key, clock, renew=0) is not None
    clock.advance(0.001)
    assert await load(store, kept.key, clock, renew=0) is None


async def test_delete_ends_once(store, kept, clock):
    """The first delete says that it was live, the second is quiet."""
    assert await store.delete(kept.key, now=clock(), reason="logout")
    assert not await store.delete(kept.key, now=clock(), reason="logout")
    assert await load(store, kept.key, clock) is None
    assert await store.list_user("anna", now=clock()) == []


async def test_list_user_shows_the_living_oldest_first(store, record, clock):
    """Each with its times, and nothing else of it."""
    records = []
    for _ in range(4):
        records.append(record())
        await create(store, records[-1], clock)
        clock.advance(1)
    await store.delete(records[1].key, now=clock(), reason="logout")
    expected = [
        SessionInfo(r.user_id, r.session_id, r.created_at, r.last_seen_at, r.expires_at)
        for r in (records[0], records[2], records[3])
    ]
    assert await store.list_user("anna", now=clock()) == expected
    assert await store.list_user("nobody", now=clock()) == []


async def test_delete_user_may_keep_one(store, record, clock):
    """Logging out everywhere else leaves the session that asks for it, and other users'."""
    mine = [record() for _ in range(3)]
    for made in [*mine, record("bert")]:
        await create(store, made, clock)
    ended = await store.delete_user("anna", now=clock(), keep=mine[1].session_id, reason="revoked")
    assert sorted(ended) == sorted([mine[0].session_id, mine[2].session_id])
    assert [i.session_id for i in await store.list_user("anna", now=clock())] == [
        mine[1].session_id
    ]
    assert len(await store.list_user("bert", now=clock())) == 1


async def test_a_limit_ends_the_oldest(store, record, clock):
    """The newest stay, also when the limit was lowered since."""
    records = []
    for _ in range(4):
        records.append(record())
        assert await create(store, records[-1], clock) == []
        clock.advance(1)
    newest = record()
    assert await create(store, newest, clock, limit=2) == [r.session_id for r in records[:3]]
    left = [info.session_id for info in await store.list_user("anna", now=clock())]
    assert left == [records[3].session_id, newest.session_id]


async def test_the_dead_do_not_count_for_a_limit(store, record, clock):
    """Only live sessions are ended for a new one."""
    await create(store, record(), clock)
    clock.advance(100)
    assert await create(store, record(), clock, limit=1) == []


async def test_a_limit_holds_under_concurrent_logins(store, record, clock):
    """However many log in at once, no more than the limit are live."""
    await asyncio.gather(*(create(store, record(), clock, limit=3) for _ in range(50)))
    assert len(await store.list_user("anna", now=clock())) == 3


async def test_a_session_that_is_replaced_counts_as_gone(store, record, clock):
    """It is left to the caller to end it: a login that fails later has cost nobody a session."""
    old = record()
    await create(store, old, clock)
    clock.advance(1)
    await create(store, record(), clock)
    clock.advance(1)
    new = record()
    call = store.create(new, now=clock(), limit_per_user=2, replacing=old.key)
    assert await call == []
    assert len(await store.list_user("anna", now=clock())) == 3
    newer = record()
    call = store.create(newer, now=clock(), limit_per_user=2, replacing=new.key)
    assert await call == [old.session_id]
    foreign = record("bert")
    call = store.create(foreign, now=clock(), limit_per_user=1, replacing=newer.key)
    assert await call == []


async def test_rename_moves_all_there_is(store, kept, clock):
    """The new id opens what the old one did; the old one is absent."""
    renamed = await store.rename(kept.key, "n" * 43, now=clock())
    assert await load(store, renamed.key, clock) == renamed
    assert (renamed.data, renamed.created_at, renamed.deadline) == (
        kept.data,
        kept.created_at,
        kept.deadline,
    )
    assert await load(store, kept.key, clock) is None
    assert [i.session_id for i in await store.list_user("anna", now=clock())] == ["n" * 43]


async def test_rename_to_a_taken_id_changes_nothing(store, kept, record, clock):
    """Two sessions never become one."""
    other = record()
    await create(store, other, clock)
    with pytest.raises(SessionIdTaken, match="taken"):
        await store.rename(kept.key, other.session_id, now=clock())
    assert await load(store, kept.key, clock) == kept
    assert await load(store, other.key, clock) == other


async def test_a_renamed_session_keeps_its_age_in_the_list(store, record, clock):
    """The oldest is who logged in first, not who was renamed last."""
    old = record()
    await create(store, old, clock)
    clock.advance(1)
    young = record()
    await create(store, young, clock)
    renamed = await store.rename(old.key, "n" * 43, now=clock())
    assert [i.session_id for i in await store.list_user("anna", now=clock())] == [
        renamed.session_id,
        young.session_id,
    ]


async def test_count_and_scan_see_the_living(store, record, clock):
    """The dead are left out before any sweep."""
    for _ in range(3):
        await create(store, record(), clock)
    clock.advance(50.5)
    young = record("bert")
    await create(store, young, clock)
    assert await store.count(now=clock()) == 4
    clock.advance(49.6)
    assert await store.count(now=clock()) == 1
    assert [info async for info in store.scan(now=clock())] == [young.info]


async def test_sweep_leaves_the_living(store, record, clock):
    """Also those who would be dead had they not been used."""
    records = [record(f"user-{number}") for number in range(30)]
    for made in records:
        await create(store, made, clock)
    clock.advance(60)
    for made in records[::3]:
        await load(store, made.key, clock, renew=0)
    clock.advance(60)
    await store.sweep(now=clock(), budget=7)
    for number, made in enumerate(records):
        assert (await load(store, made.key, clock) is not None) == (number % 3 == 0)
    assert await store.count(now=clock()) == 10


async def test_sessions_survive_a_restart_of_the_lifespan(store, kept, clock):
    """Closing and opening again lets go of connections, not of sessions."""
    await store.aclose()
    await store.open()
    assert await load(store, kept.key, clock) == kept


async def test_much_data_is_data(store, record, clock):
    """Thousands of keys at a login survive whatever happens to the session."""
    data = {f"key-{number}": b"%d" % number for number in range(5000)}
    made = record(data=data)
    await create(store, made, clock)
    assert await load(store, made.key, clock) == made
    _, rotated = await store.rotate(made.key, 0, now=clock(), grace=10)
    claimed = await store.set_claims(made.key, {}, expected=made.claims, now=clock())
    renamed = await store.rename(made.key, "n" * 43, now=clock())
    assert rotated.data == claimed.data == renamed.data == data
    assert await store.delete(renamed.key, now=clock(), reason="logout")
    assert await store.count(now=clock()) == 0
