"""Races, a thousand times each: whatever comes first, nothing is lost and nothing comes back."""

import asyncio
import sys

import pytest

from fastapi_memsession import Session, SessionEnded, SessionKey
from fastapi_memsession.records import new_session_id
from fastapi_memsession.stores.base import Increment
from tests.conftest import START
from tests.contract.conftest import STORES
from tests.contract.racing import Racers, TickingClock


@pytest.fixture(params=["memory", "redis"])
def kind(request):
    return STORES[request.param]


@pytest.fixture
def clock():
    return TickingClock()


@pytest.fixture(autouse=True)
def _threads_take_turns_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
async def racers(new_stores, make_app):
    stores = new_stores(5)
    yield Racers([make_app(store=store, refresh=True).state.sessions for store in stores])
    await stores[0].aclose()


@pytest.fixture
def logins(racers):
    """Log in once for each round, a user of its own."""
    return lambda rounds=1000: racers.each(
        lambda number: racers.referee.login(
            f"user-{number}", claims={"role": "admin"}, data={"n": number}
        ),
        rounds,
    )


def handle(provider, login):
    """Open the session of a login as another request, which came before all others, has it."""
    return Session(login.session.record, provider, login.session.token_info)


async def refused(call):
    """Return why a session has ended for whoever calls; None if it has not."""
    try:
        await call
    except SessionEnded as error:
        return error.reason
    return None


async def test_a_hundred_renewals_of_one_token_give_one_pair(racers, logins, clock):
    """One of them rotates; all get the same successor, although seconds pass between them."""
    clock.tick = 0.01
    made = await logins(10)

    async def renew(provider, number):
        calls = (provider.renew(made[number].tokens.refresh) for _ in range(25))
        return [login.tokens for login in await asyncio.gather(*calls)]

    for number, results in enumerate(await racers.race(*[renew] * 4, rounds=10, batch=1)):
        (pair,) = {(each.access, each.refresh) for tokens in results for each in tokens}
        assert pair[0] != made[number].tokens.access
        session = await racers.referee.open(pair[0])
        assert session.record.generation == 1
        assert (await racers.referee.renew(pair[1])).session.record.generation == 2


async def test_of_two_new_ids_one_lives(racers, logins):
    """With all that the session held; who comes second is told so, and has made nothing."""
    made = await logins()

    async def regenerate(provider, number):
        session = handle(provider, made[number])
        session._next_id = new_id = new_session_id()  # as `regenerate` does
        return new_id, await provider.regenerate(session)

    results = await racers.race(regenerate, regenerate)

    async def outcome(number):
        pairs, referee, key = results[number], racers.referee, made[number].session.record.key
        (winner,) = (each for each in (0, 1) if pairs[each][1] is not None)
        (new_id, headers), (lost_id, _) = pairs[winner], pairs[1 - winner]
        session = await referee.open(headers["authorization"].removeprefix("Bearer "))
        assert session.id == new_id
        assert await session.all() == {"n": number}
        now, lost = referee.clock(), SessionKey(key.user_id, lost_id)
        assert await referee.store.load(lost, now=now, renew_interval=None) is None
        assert await referee.store.end_reason(key, now=now) == "replaced"
        return winner

    assert set(await racers.each(outcome)) == {0, 1}


async def test_no_token_survives_a_logout_amid_renewals(racers, logins):
    """Neither of the pair that was shown nor of the one that was issued meanwhile."""
    made = await logins()

    async def renew(provider, number):
        try:
            return (await provider.renew(made[number].tokens.refresh)).tokens
        except SessionEnded:
            return None

    def destroy(provider, number):
        return provider.end(made[number].session.record.key, reason="logout")

    results = await racers.race(renew, destroy)

    async def outcome(number):
        pair, was_live = results[number]
        assert was_live
        tokens = [made[number].tokens, pair or made[number].tokens]
        assert await refused(racers.referee.open(tokens[number % 2].access)) == "revoked"
        assert await refused(racers.referee.renew(tokens[1 - number % 2].refresh)) == "revoked"
        return pair is not None

    assert set(await racers.each(outcome)) == {True, False}


async def test_no_login_survives_a_revocation_that_came_after_it_began(racers):
    """It is refused or ended; one that began after the revocation is not refused."""
    made = [racers.referee.prepare_login(f"user-{number}") for number in range(1000)]
    early = [racers.referee.clock() for _ in range(0, 1000, 2)]

    async def login(provider, number):
        began = provider.clock() if number % 2 else early[number // 2]
        await asyncio.sleep(0)  # as long as it takes to check a password
        return began, await refused(provider.begin(made[number], since=began))

    async def revoke(provider, number):
        now = provider.clock()
        await asyncio.sleep(0)
        await provider.store.delete_user(f"user-{number}", now=now, reason="revoked")
        return now

    results = await racers.race(login, revoke)

    async def outcome(number):
        (began, refusal), revoked_at = results[number]
        told = await refused(racers.referee.open(made[number].tokens.access))
        if began < revoked_at:
            assert told is not None
        if refusal is not None:
            assert (refusal, told) == ("revoked", "expired")
            assert began < revoked_at
            return "refused"
        return told or "lives"

    assert set(await racers.each(outcome)) == {"lives", "revoked", "refused"}


@pytest.mark.parametrize(("rounds", "at_once", "limit"), [(1000, 1, 1), (5, 25, 3)])
async def test_a_limit_holds_whoever_logs_in_at_once(racers, rounds, at_once, limit):
    """Exactly so many live, the newest; but for one place, which is the last comer's."""

    async def begin(provider, number):
        record = provider.prepare_login(f"user-{number}").session.record
        await asyncio.sleep(0)
        call = provider.store.create(record, now=record.created_at, limit_per_user=limit)
        return record.created_at, record.session_id, await call

    async def login(provider, number):
        return await asyncio.gather(*(begin(provider, number) for _ in range(at_once)))

    results = await racers.race(login, login, rounds=rounds, batch=rounds // 5)

    async def outcome(number):
        made = sorted(each for side in results[number] for each in side)
        ids = [session_id for _, session_id, _ in made]
        evicted = [each for _, _, ended in made for each in ended]
        infos = await racers.referee.list_sessions(f"user-{number}")
        living = {info.session_id for info in infos}
        assert len(living) == limit
        assert sorted([*living, *evicted]) == sorted(ids)
        assert living >= set(ids[len(ids) + 1 - limit :])

    await racers.each(outcome, rounds)


async def test_claims_and_data_lose_nothing_to_each_other(racers, logins):
    """Two updates of claims and writes at once: all of them are there."""
    made = await logins()

    async def one(provider, number):
        await handle(provider, made[number]).update_claims(one=str(number), role=None)

    async def other(provider, number):
        await handle(provider, made[number]).update_claims(other=str(number))

    async def write(provider, number):
        session = handle(provider, made[number])
        await asyncio.gather(session.incr("n"), session.set("role", "none"))

    await racers.race(one, other, write)

    async def outcome(number):
        session = await racers.referee.open(made[number].tokens.access)
        assert session.claims.data == {"one": str(number), "other": str(number)}
        assert await session.all() == {"n": number + 1, "role": "none"}

    await racers.each(outcome)


async def test_an_update_of_all_claims_misses_no_session_that_gets_a_new_id(racers, logins):
    """It is changed under the one or the other, and counted once; whoever logs in later is not."""
    made = await logins(300)

    async def update(provider, number):
        return await provider.update_claims(f"user-{number}", role=None)

    async def rename(provider, number):
        key = made[number].session.record.key
        return await provider.store.rename(key, new_session_id(), now=provider.clock())

    results = await racers.race(update, rename, rounds=300, batch=60)

    async def outcome(number):
        changed, renamed = results[number]
        store, now = racers.referee.store, racers.referee.clock()
        after = await store.load(renamed.key, now=now, renew_interval=None)
        assert (changed, after.claims) == (1, {})

    await racers.each(outcome, 300)


async def test_a_destroyed_session_comes_back_under_no_id(racers, logins):
    """Whoever writes to it or renames it: if the new id came first, that one is ended."""
    made = [login.session.record.key for login in await logins()]
    new_ids = [new_session_id() for _ in made]

    async def destroy(provider, number):
        return await provider.end(made[number], reason="logout")

    async def rename(provider, number):
        return await provider.store.rename(
            made[number], new_ids[number], now=provider.clock(), confirmed_at=provider.clock()
        )

    async def write(provider, number):
        store, change = provider.store, [Increment("n", 1)]
        return await store.change(made[number], change, now=provider.clock(), max_bytes=99)

    results = await racers.race(destroy, rename, write)

    async def outcome(number):
        was_live, renamed, written = results[number]
        store, now = racers.referee.store, racers.referee.clock()
        new_key = SessionKey(made[number].user_id, new_ids[number])
        reasons = [await store.end_reason(key, now=now) for key in (made[number], new_key)]
        assert was_live
        assert reasons == (["logout", None] if renamed is None else ["replaced", "logout"])
        for key in (made[number], new_key):
            assert await store.load(key, now=now, renew_interval=None) is None
        if renamed is not None:
            assert renamed.data in [{"n": str(number + more).encode()} for more in (0, 1)]
        return renamed is None, written is None

    came_first = set(await racers.each(outcome))
    assert {renamed for renamed, _ in came_first} == {True, False}


async def test_a_clock_that_is_behind_gives_the_same_pair(racers, logins, clock):
    """Also if it shows another second than the one that the token was exchanged in."""
    (made,) = await logins(1)
    clock.tick = 0.0
    pairs = set()
    for seconds in (0.0, -0.001, 0.001, -5.0):
        racers.referee.clock = lambda seconds=seconds: START + 100 + seconds
        tokens = (await racers.referee.renew(made.tokens.refresh)).tokens
        pairs.add((tokens.access, tokens.refresh))
    assert len(pairs) == 1
