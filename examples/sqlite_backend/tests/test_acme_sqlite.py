"""The contract of every backend on this store, and what is SQLite's own."""

from __future__ import annotations

from pathlib import Path

import pytest

import acme_sqlite
from acme_sqlite.store import SqliteStore
from yadtq_core.errors import BackendUnavailable, ConfigurationRefused
from yadtq_core.interfaces import Backend
from yadtq_core.records import Entry
from yadtq_core.settings import Settings
from yadtq_core.testing import BackendContract


class TestSqlite(BackendContract):
    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return Settings(backend=f"sqlite://{tmp_path}", namespace="test")

    def open(self, settings: Settings) -> Backend:
        return acme_sqlite.open(settings)  # without it, by the scheme: then the distribution must be installed


def test_a_folder_that_does_not_exist_is_unavailable(tmp_path: Path) -> None:
    backend = acme_sqlite.open(Settings(backend=f"sqlite://{tmp_path / 'nowhere'}"))
    for call in (backend.check, backend.counts, lambda: backend.get(["x"])):
        with pytest.raises(BackendUnavailable, match=r"SQLite at .*main\.db: unable to open database file"):
            call()
    backend.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "main.db").write_bytes(b"not a database, and longer than the header of one" * 100)
    backend = acme_sqlite.open(Settings(backend=f"sqlite://{tmp_path}"))
    with pytest.raises(ConfigurationRefused, match="file is not a database"):
        backend.check()
    backend.close()


def test_an_exception_undoes_what_its_transaction_wrote(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db")
    with store.transaction() as tx:
        tx.write([Entry("a", b"1", ("open", 5), "w", None, ended=False)])
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:  # noqa: PT012  the write must come first
        tx.write([Entry("a", b"2", None, None, None, ended=False)])
        raise ZeroDivisionError
    store.close()
    again = SqliteStore(tmp_path / "a.db")  # what was committed survives its process
    with again.transaction() as tx:
        assert (tx.read(["a", "b"]), tx.first("open", 0, 6, 10), tx.held("w")) == ({"a": b"1"}, ["a"], ["a"])
    again.close()


def test_a_writer_that_does_not_end_makes_others_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acme_sqlite.store.BUSY_SECONDS", 0.05)
    one, other = SqliteStore(tmp_path / "a.db"), SqliteStore(tmp_path / "a.db")
    other.check()
    with one.transaction(), pytest.raises(BackendUnavailable, match="database is locked"), other.transaction():
        pass
    other.check()
    one.close()
    other.close()
