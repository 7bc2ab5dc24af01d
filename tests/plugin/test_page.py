"""The page about testing: its examples are tests, and pass."""

import re
import subprocess
import sys
from pathlib import Path

import fastapi_memsession

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def test_the_examples_pass(tmp_path):
    """As printed, with the plugin found by its entry point."""
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)):
        (tmp_path / f"test_{number}.py").write_text(code)
    options = [
        "-q",
        "-k",
        "not TestMyStore or delete_ends_once",
        "-o",
        "asyncio_mode=auto",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        env={"PYTHONPATH": str(Path(fastapi_memsession.__file__).parents[1])},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert re.search(r"^5 passed", done.stdout, re.MULTILINE), done.stdout + done.stderr
