"""What sessions cost, measured: `make bench` prints one table that anyone can make again.

    asgi.py            applications called in process, without a client in the way
    rounds.py          contenders timed in turns, so that all meet the same machine
    contenders.py      this package and what it is measured against, as small applications
    peers.py           other packages that keep sessions, in applications that do the same
    in_process.py      what a request costs, as ratios
    path.py            where the time of a request goes, step by step

Each script runs alone, `python -m benchmarks.in_process`, and explains itself with `--help`.
Targets are shown beside the measurements and never asserted: a busy machine is no defect.
"""
