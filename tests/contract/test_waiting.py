"""Which stores wait: what the contract asks of those that do not depends on what they say."""


def test_a_store_with_a_server_waits(kind, new_store):
    """And no other does."""
    assert new_store().waits is (kind.server is not None)
