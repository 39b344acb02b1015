"""The plugin: a backend for `sqlite:///FOLDER`, one file a namespace."""

from collections.abc import Mapping
from pathlib import Path

from acme_sqlite.store import SqliteStore
from yadtq_core import hookimpl
from yadtq_core.interfaces import Backend, BackendFactory
from yadtq_core.records import StoreBackend
from yadtq_core.settings import Settings


def open(settings: Settings) -> Backend:  # noqa: A001  (what every implementation's factory is called)
    """Return the backend at `settings.backend`; it connects when it is first used."""
    folder = Path(settings.backend.removeprefix("sqlite://"))
    return StoreBackend(SqliteStore(folder / f"{settings.namespace}.db"), settings)


@hookimpl
def yadtq_backends() -> Mapping[str, BackendFactory]:
    """Offer SQLite."""
    return {"sqlite": open}
