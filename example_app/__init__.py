"""A small application that shows fastapi-memsession at work; `python -m example_app` serves it."""
