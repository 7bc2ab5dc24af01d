"""`python -m fastapi_memsession`: see `commands.py`."""

import sys

from fastapi_memsession.commands import main

if __name__ == "__main__":
    sys.exit(main())
