"""For tests of applications with sessions, and of stores. The package itself never imports it.

The pytest plugin's fixtures give what is named here; `testing.contract`, which needs the extra
`testing`, is for whoever writes a store.
"""

from fastapi_memsession.testing.empty_sessions import EmptySessions
from fastapi_memsession.testing.login_as import LoginAs
from fastapi_memsession.testing.session_clock import SessionClock

__all__ = ["EmptySessions", "LoginAs", "SessionClock"]
