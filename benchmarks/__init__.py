"""What sessions cost, measured: `make bench` prints one table that anyone can make again.

    asgi.py            applications called in process, without a client in the way
    rounds.py          contenders timed in turns, so that all meet the same machine
    contenders.py      this package and what it is compared with, as small applications
    peers.py           other packages that keep sessions, in applications that do the same
    table.py           the table, for a person and for a machine

    in_process.py      what a request costs, as ratios
    path.py            where the time of a request goes, step by step
    real_http.py       requests a second, over uvicorn and sockets; wrk.py finds its client
    memory_store.py    time, memory and holds of the loop as the store in memory grows
    redis_costs.py     what a session costs a Redis server
    capacity.py        what so many sessions come to
    plot.py            cost and memory against the number of sessions, drawn

Each script runs alone, `python -m benchmarks.in_process`, and explains itself with `--help`.
Targets are shown beside the measurements and never asserted: a busy machine is no defect.
"""
