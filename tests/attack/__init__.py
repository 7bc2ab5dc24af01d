"""Attacks on the example app: over real HTTP, by whoever has no session, or somebody else's."""

CONTROL = "/control"  # where a served app is told what no client could say
