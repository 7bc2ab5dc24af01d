"""Find the sessions of an application under test, however it is wrapped."""

from fastapi_memsession.errors import SessionUsageError
from fastapi_memsession.provider import SessionProvider


def provider_of(app: object) -> SessionProvider:
    """Return the provider of an application, or of the one inside a middleware.

    Raises:
        SessionUsageError: there is none.
    """
    inner: object = app
    while inner is not None:
        provider = getattr(getattr(inner, "state", None), "sessions", None)
        if isinstance(provider, SessionProvider):
            return provider
        inner = getattr(inner, "app", None)  # what middlewares call that which they wrap
    raise SessionUsageError(
        f"No sessions were set up for this {type(app).__name__}. Pass the application that "
        "setup_sessions() was called for."
    )
