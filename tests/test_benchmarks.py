"""The benchmarks run, so that they do not rot. No time is asserted: a busy machine is no defect."""

import json
from xml.etree import ElementTree

import pytest
from fastapi import FastAPI, HTTPException, Request

from benchmarks.capacity import Assumed, Measured, capacity
from benchmarks.contenders import checked
from benchmarks.in_process import BASE_UNANNOTATED, US, US_COOKIE, US_RARE, in_memory
from benchmarks.memory_store import QUICK_SIZES, times_of
from benchmarks.plot import draw
from benchmarks.rounds import Times
from benchmarks.table import absent, show, write


async def test_the_quick_run_fills_the_table(tmp_path):
    """Every contender of ours is timed beside its base; a person and a machine can read it."""
    rows = await in_memory(quick=True)
    assert [row.who for row in rows if row.target] == [US, US_COOKIE, US, US]
    assert all(row.measured > 0 for row in rows)
    others = {US, US_COOKIE, US_RARE, BASE_UNANNOTATED}
    assert all(row.measured == 1 for row in rows if row.who not in others)
    assert show(rows).count("fastapi-memsession") == 5
    write(tmp_path / "found.json", rows)
    found = json.loads((tmp_path / "found.json").read_text())
    assert [row["measured"] for row in found["rows"]] == [row.measured for row in rows]


@pytest.mark.parametrize(
    ("answer", "guarded", "complaint"),
    [
        ("light", True, "^Logged in, the answer is"),
        ("dark", False, "^Not logged in, the answer is"),
    ],
)
async def test_a_wrong_answer_is_not_timed(answer, guarded, complaint):
    """Neither another value than the session's, nor the right one for whoever asks."""
    app = FastAPI()

    @app.post("/login")
    async def login():
        return {"access_token": "anything"}

    @app.get("/theme")
    async def theme(request: Request):
        if guarded and "authorization" not in request.headers:
            raise HTTPException(401)
        return {"theme": answer}

    with pytest.raises(RuntimeError, match=complaint):
        await checked(app)


async def test_the_quick_run_of_the_store_measures_every_size():
    """And finds as many sessions as it draws."""
    found = await times_of(QUICK_SIZES, 1)
    assert all(found[f"{kind}_us"].keys() == set(QUICK_SIZES) for kind in ("create", "load"))


def test_ratios_are_those_of_the_rounds():
    """A slow round is slow for everybody, and changes no ratio."""
    base, mine = Times((10.0, 10.0, 90.0)), Times((12.0, 11.0, 99.0))
    assert mine.ratio(base) == pytest.approx(1.1)
    assert mine.more(base) == pytest.approx(2.0)


def test_who_is_missing_says_why():
    """In a line of the table, instead of ending the run."""
    row = absent("work", "a peer", ModuleNotFoundError("No module named 'peer'"))
    assert "not measured" in show([row])
    assert "No module named 'peer'" in show([row])


def test_capacity_is_arithmetic():
    """Each figure is the product of what was measured and what is assumed."""
    measured = Measured(
        memory_bytes=700, redis_bytes=1_000, use_us=50, renewal_bytes=300, login_us=100,
        login_bytes=2_000, request_us=400,
    )  # fmt: skip
    found = capacity(100_000_000, measured, Assumed(active=0.05, every=10, days=10, renewal=5_000))
    assert (found.in_memory, found.in_redis) == (70e9, 100e9)
    assert (found.requests, found.cores) == (500_000, 200)
    assert found.logins == pytest.approx(115.74, rel=1e-3)
    assert found.replicated == pytest.approx(1_000 * 300 + 115.74 * 2_000, rel=1e-3)
    assert found.shards == 51  # 25.01 seconds of work each second, half a core of each
    memory_only = Assumed(active=0, every=10, days=1e9)
    assert capacity(100_000_000, measured, memory_only).shards == 6  # 93 GiB, 16 of each


def test_the_picture_is_well_formed():
    """And has a line for each kind of call and each way to keep a session."""
    line = {"1000": 1.0, "1000000": 1.3}
    names = ("create_us", "load_us", "bytes", "bytes_plain")
    picture = ElementTree.fromstring(draw(dict.fromkeys(names, line)))
    texts = [each.text for each in picture.iter() if each.text]
    assert {"create", "load", "fastapi-memsession", "1 000 000"} <= set(texts)
