"""The contract of a store as a suite of tests, for whoever writes one. Needs the extra `testing`.

    class TestMyStore(SessionStoreContract):
        @pytest.fixture
        def new_store(self):
            return MyStore

The stores of this package are tested by the same suite.
"""

from fastapi_memsession.testing.contract.changes import Changes
from fastapi_memsession.testing.contract.claims import ClaimsOfSessions
from fastapi_memsession.testing.contract.devices import Devices
from fastapi_memsession.testing.contract.endings import Endings
from fastapi_memsession.testing.contract.locks import Locks
from fastapi_memsession.testing.contract.logins import LoginsUnderWay
from fastapi_memsession.testing.contract.programs import Programs
from fastapi_memsession.testing.contract.records import Records
from fastapi_memsession.testing.contract.rotation import Rotations
from fastapi_memsession.testing.contract.stats import Stats
from fastapi_memsession.testing.contract.users import Users
from fastapi_memsession.testing.contract.waiting import Waiting
from fastapi_memsession.testing.contract.watching import Watching

__all__ = ["SessionStoreContract"]


class SessionStoreContract(
    Records,
    Users,
    LoginsUnderWay,
    Changes,
    ClaimsOfSessions,
    Devices,
    Rotations,
    Endings,
    Stats,
    Locks,
    Waiting,
    Watching,
    Programs,
):
    """Every test that a store must pass. Subclass it, and write the fixture `new_store`.

    `new_store` returns a function without arguments that returns an empty store, not opened yet;
    one of that class will do. Stores that share a server must not share sessions: give each a
    name space of its own. Each test runs on an event loop of its own, without any plugin.

    A fixture `programs` may tell how many random programs are compared with a model: 50, unless
    a slow store had better do with fewer.
    """
