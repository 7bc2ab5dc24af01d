"""Workers of one server are seen, for each would keep sessions of its own."""

import asyncio
import os
import subprocess
import sys

import pytest

from fastapi_memsession import MemoryStore
from fastapi_memsession.stores import siblings


class TestSiblings:
    """Several workers of one server, each with sessions of its own."""

    @pytest.fixture(autouse=True)
    def _fresh_process(self, monkeypatch, tmp_path):
        monkeypatch.setattr(siblings, "_held", {})
        monkeypatch.setattr(siblings.tempfile, "gettempdir", lambda: str(tmp_path))

    def start(self, caplog):
        caplog.clear()
        asyncio.run(MemoryStore().open())
        return [record.getMessage() for record in caplog.records]

    def test_one_worker_hears_nothing(self, caplog):
        """However many stores and starts it has."""
        assert self.start(caplog) == []
        assert self.start(caplog) == []

    def test_a_sibling_is_warned(self, caplog, monkeypatch):
        """Of what will happen, and what to do."""
        self.start(caplog)
        monkeypatch.setattr(siblings, "_held", {})  # another process knows nothing of ours
        (message,) = self.start(caplog)
        assert "logged out" in message
        assert "MEMSESSION_PROVIDER=redis" in message

    def test_a_folder_that_cannot_be_written_harms_nobody(self, caplog, monkeypatch):
        """Then nothing can be noticed."""
        monkeypatch.setattr(siblings.tempfile, "gettempdir", lambda: "/no/such/folder")
        assert self.start(caplog) == []

        def no_folder():
            raise FileNotFoundError

        monkeypatch.setattr(siblings.tempfile, "gettempdir", no_folder)
        assert self.start(caplog) == []

    def test_no_file_is_left(self, tmp_path):
        """A worker that ends takes its file with it."""
        code = "import asyncio, fastapi_memsession as f; asyncio.run(f.MemoryStore().open())"
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}, check=True
        )
        assert list(tmp_path.iterdir()) == []

    def test_the_file_is_the_users_own(self, tmp_path, monkeypatch, caplog):
        """Nobody else may open it, whatever the umask is."""
        before = os.umask(0)
        try:
            self.start(caplog)
        finally:
            os.umask(before)
        (file,) = tmp_path.iterdir()
        assert file.stat().st_mode & 0o777 == 0o600

    def test_a_planted_link_is_not_followed(self, tmp_path, caplog):
        """The folder is everybody's: no file of this user's is made or locked elsewhere."""
        siblings._lock_path().symlink_to(tmp_path / "target")
        assert self.start(caplog) == []
        assert not (tmp_path / "target").exists()

    def test_a_sibling_leaves_no_file_open(self, caplog, monkeypatch):
        """However often it starts."""
        self.start(caplog)
        monkeypatch.setattr(siblings, "_held", {})

        def lowest_free():
            file = os.open(os.devnull, os.O_RDONLY)
            os.close(file)
            return file

        before = lowest_free()
        assert len(self.start(caplog)) == 1
        assert lowest_free() == before

    def test_a_forked_worker_is_a_sibling(self, caplog, monkeypatch):
        """It inherits what its parent holds, and holds nothing itself."""
        self.start(caplog)
        monkeypatch.setattr(siblings, "_held", dict.fromkeys([-1], *siblings._held.values()))
        assert len(self.start(caplog)) == 1

    @pytest.mark.parametrize("differs", ["parent", "user", "folder", "command"])
    def test_another_server_is_no_sibling(self, caplog, monkeypatch, tmp_path, differs):
        """Another parent, user, folder or command line makes another server."""
        self.start(caplog)
        monkeypatch.setattr(siblings, "_held", {})
        if differs == "parent":
            monkeypatch.setattr(os, "getppid", lambda: -1)
        elif differs == "user":
            monkeypatch.setattr(os, "getuid", lambda: -1)
        elif differs == "folder":
            monkeypatch.chdir(tmp_path)
        else:
            monkeypatch.setattr(sys, "argv", ["another"])
        assert self.start(caplog) == []
