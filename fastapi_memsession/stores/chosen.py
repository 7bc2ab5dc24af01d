"""The store that the settings name. Opens nothing."""

import logging

from fastapi_memsession.settings import SessionSettings
from fastapi_memsession.stores.base import SessionStore
from fastapi_memsession.stores.memory import MemoryStore

logger = logging.getLogger("fastapi_memsession")


def store_of(settings: SessionSettings) -> SessionStore:
    """Make the store that the settings name.

    Raises:
        SettingsError: it is Redis, and its client is missing or `redis_url` is no URL.
    """
    if settings.store_kind == "redis":
        # Here and not at the top: who does without Redis needs no client for it.
        from fastapi_memsession.stores.near import NearStore  # noqa: PLC0415
        from fastapi_memsession.stores.redis import RedisStore  # noqa: PLC0415

        url, prefix = settings.redis_url.get_secret_value(), settings.redis_prefix
        timeout = settings.redis_timeout.total_seconds()
        if not settings.near_cache:
            return RedisStore(url, prefix=prefix, timeout=timeout)
        staleness = settings.near_cache_staleness.total_seconds()
        return NearStore(url, prefix=prefix, timeout=timeout, staleness=staleness)
    if settings.env == "production":
        logger.warning(
            "Sessions are kept in memory in production: a restart logs everyone out, and there "
            "can be only one worker."
        )
    return MemoryStore(max_sessions=settings.max_sessions)
