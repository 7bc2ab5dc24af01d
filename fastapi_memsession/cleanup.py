"""The loop that frees what dead sessions take. The lifespan starts it; see `middleware.py`."""

import logging

from fastapi_memsession.provider import SessionProvider

logger = logging.getLogger("fastapi_memsession")


async def clean_up_forever(provider: SessionProvider) -> None:
    """Sweep every `cleanup_interval` until cancelled. A failed sweep is logged, and retried."""
    interval = provider.settings.cleanup_interval.total_seconds()
    while True:
        await provider.clock.sleep(interval)
        try:
            removed = await provider.sweep()
        except Exception:
            logger.exception("Cleaning up sessions failed; the next try is in %g s.", interval)
        else:
            logger.debug("Cleaned up %d dead sessions.", removed)
