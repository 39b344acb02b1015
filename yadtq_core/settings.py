"""The settings: one frozen value, and where each part of it came from.

Defaults < `yadtq.toml` or `[tool.yadtq]` of pyproject.toml (the nearest above the working directory) <
environment < what is given in code or on the command line. `load` is the only way in.
"""

from __future__ import annotations

import difflib
import os
import re
import socket
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Meta, Struct, inspect, structs

from yadtq_core.errors import InvalidInput, InvalidSetting
from yadtq_core.model import check_queue

S = TypeVar("S")
Seconds = Annotated[float, Meta(gt=0, le=10 * 365 * 86400)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}\Z")]

DEFAULT_BROKER = "kafka://localhost:9092"
DEFAULT_BACKEND = "redis://localhost:6379/0"
MAX_FILE_BYTES = 1024 * 1024
_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_CREDENTIALS = re.compile(r"(?<=//).*@|^(?!.*//).*@", re.DOTALL)
_SECRET_OPTION = re.compile(
    r"([?&](?![a-z_]*_file=)[^=&]*(?:pass|pwd|secret|token|credential)[^=&]*=)[^&#]*", re.IGNORECASE
)
_SECRET_NAME = re.compile(
    r"(^|[_-])(key|secret|pass|passwd|password|passphrase|token|credential)s?($|[_-])", re.IGNORECASE
)
_PATTERNS = {
    "namespace": "lower-case letters, digits, '_' and '-' (32 at most)",
    "worker_id": "letters, digits, '_', '.', '@' and '-' (64 at most)",
}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|)")


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client or a worker is set to. Durations are seconds."""

    broker: str = DEFAULT_BROKER
    """Address of the broker; its scheme chooses the implementation."""
    backend: str = DEFAULT_BACKEND
    """Address of the backend; its scheme chooses the implementation."""
    broker_password: str = ""
    """Password of the broker, or its token, where the address has none. Best in the environment."""
    backend_password: str = ""
    """Password of the backend, where the address has none. Best in the environment."""
    namespace: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}\Z")] = "main"
    """Keeps installations that share services apart: part of every topic's and key's name."""
    worker_id: Name = msgspec.field(default_factory=lambda: default_worker_id())  # noqa: PLW0108 - defined below
    """A worker's name; the environment's WORKER_ID."""
    queues: Annotated[tuple[str, ...], Meta(min_length=1, max_length=64)] = ("default",)
    """The queues a worker serves."""
    imports: tuple[str, ...] = ()
    """Modules whose @task functions are registered, from the working directory too."""
    claim_stale_seconds: Annotated[float, Meta(ge=1, le=86400)] = 15.0
    """The lease: a task whose worker has not extended it for so long is run by another. Heartbeats and extensions
    come every third of it."""
    processes: Annotated[int, Meta(ge=1, le=256)] = msgspec.field(default_factory=lambda: usable_cores())  # noqa: PLW0108 - defined below
    """Children of a worker; default: usable cores, a cgroup's CPU quota counted."""
    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    """Tasks that run at a time in each child."""
    partitions: Annotated[int, Meta(ge=1, le=4096)] = 8
    """Partitions of each queue's topic."""
    replication: Annotated[int, Meta(ge=0, le=16)] = 0
    """Replicas of each topic when it is created; 0: 3 where there are 3 brokers, else 1."""
    retention: Seconds = 7 * 86400.0
    """How long the broker keeps messages."""
    shards: Annotated[int, Meta(ge=1, le=256)] = 1
    """Hash slots over which the records are spread; more than 1 only for a Redis Cluster."""
    submit_timeout: Annotated[float, Meta(ge=0.1, le=3600)] = 5.0
    """How long a submit waits for the broker's acknowledgement."""
    publish_grace: Annotated[float, Meta(ge=0.1, le=3600)] = 10.0
    """After so long a record whose message was not confirmed is published by a worker."""
    queue_check: Annotated[float, Meta(ge=1, le=86400)] = 60.0
    """After so long a worker looks whether a waiting task's message can still be delivered."""
    lost_limit: Annotated[int, Meta(ge=0, le=1000)] = 3
    """How many times a task may be begun again because its worker or child was lost, before it fails."""
    result_ttl: Annotated[float, Meta(ge=1, le=10 * 365 * 86400)] = 86400.0
    """How long the record of an ended task is kept: 4 leases (`claim_stale_seconds`) at least."""
    unknown_task_ttl: Annotated[float, Meta(ge=1, le=10 * 365 * 86400)] = 86400.0
    """How long a task that no worker knows waits for one that does, before it fails."""
    shutdown_grace: Annotated[float, Meta(ge=0, le=86400)] = 25.0
    """How long a worker that was told to stop lets its running tasks go on before it hands them back."""
    codecs: tuple[str, ...] = ()
    """Codecs of plugins that arguments and results pass before they leave the process, in this order."""
    log_level: str = "info"
    """debug, info, warning or error."""
    log_format: str = "console"
    """console or json."""
    sections: dict[str, Any] = {}
    """Settings of plugins, by section: tables as they were read, once the plugins are loaded their own structs."""

    def section(self, kind: type[S]) -> S:
        """Return a plugin's own settings by their struct; raises InvalidSetting where no plugin offers it."""
        for value in self.sections.values():
            if isinstance(value, kind):
                return value
        raise InvalidSetting(f"{kind.__name__} is no section of these settings: offer it by yadtq_settings")

    def __post_init__(self) -> None:
        for queue in self.queues:
            try:
                check_queue(queue)
            except InvalidInput as error:
                raise ValueError(str(error)) from None  # msgspec hands on a ValueError, with the setting's name
        _one_of("log_level", self.log_level, ("debug", "info", "warning", "error"))
        _one_of("log_format", self.log_format, ("console", "json"))


KEPT_LEASES = 4
"""The least time for which the record of an ended task is kept, in leases."""


class Loaded(NamedTuple):
    """Settings, and for each field the place its value came from; of a section's (`acme.width`) where it was given."""

    settings: Settings
    origins: dict[str, str]


FIELDS = tuple(name for name in Settings.__struct_fields__ if name != "sections")
"""The core's own settings."""
ENVIRONMENT = {name: f"YADTQ_{name.upper()}" for name in FIELDS}
OTHER_VARIABLES = frozenset({"YADTQ_BLOCK_PLUGINS", "YADTQ_TRACE_PLUGINS"})
ALIASES = {"worker_id": "WORKER_ID", "claim_stale_seconds": "CLAIM_STALE_SECONDS"}
"""Names of the original README; the YADTQ_ name wins where both are set."""
ADDRESSES = ("broker", "backend")
_DURATIONS = frozenset(
    name
    for name in FIELDS
    if "float" in str(Settings.__annotations__[name]) or Settings.__annotations__[name] == "Seconds"
)
_LISTS = frozenset({"queues", "imports", "codecs"})
_WHOLE_NUMBERS = frozenset({"processes", "threads", "partitions", "replication", "shards", "lost_limit"})


def load(
    given: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    found: Callable[[Path], tuple[str, Mapping[str, Any]] | None] | None = None,
) -> Loaded:
    """Return the settings in force.

    given: what code or the command line says; None values are passed over. The origin is "given".
    environment: default `os.environ`. folder: where the search for a file begins; default the working directory.
    found: asked with that folder where nobody has given an address; returns (origin, settings), or None.

    Raises InvalidSetting with the setting's name, what came, from where, and what is allowed.
    """
    values: dict[str, Any] = {}
    origins = dict.fromkeys(FIELDS, "default")
    layers = [
        *_from_file(folder or Path.cwd()),
        *_from_environment(os.environ if environment is None else environment),
        *(("given", name, value) for name, value in (given or {}).items() if value is not None),
    ]
    if found is not None and not {"broker", "backend"} & {name for _, name, _ in layers}:
        origin, more = found(folder or Path.cwd()) or ("", {})
        layers += [(origin, name, value) for name, value in more.items()]
    for origin, name, value in layers:
        if isinstance(value, Mapping) and name not in FIELDS:
            values.setdefault("sections", {})[name] = dict(value)  # which plugin's it is shows when they are loaded
            origins |= {f"{name}.{field}": origin for field in value}
            continue
        _known(name, origin)
        values[name] = _shape(name, value, origin)
        origins[name] = origin
    return Loaded(_convert(values, origins), origins)


def _convert(values: dict[str, Any], origins: dict[str, str]) -> Settings:
    for name, value in values.items():
        if name == "sections":
            continue
        try:
            msgspec.convert({name: value}, Settings, strict=False)
        except msgspec.ValidationError as error:
            reason = _allowed(name) or str(error).split(" - at ")[0]
            raise InvalidSetting(f"{name} = {masked(name, value)!r:.200} ({origins[name]}): {reason}") from None
    settings = msgspec.convert(values, Settings, strict=False)
    _keeps_records_for_long_enough(settings, origins)
    return settings


def _keeps_records_for_long_enough(settings: Settings, origins: Mapping[str, str]) -> None:
    """A record must outlive every delivery of its message, or that is taken for a task that the store has lost."""
    least = KEPT_LEASES * settings.claim_stale_seconds
    if settings.result_ttl < least:
        raise InvalidSetting(
            f"result_ttl = {settings.result_ttl:g} ({origins['result_ttl']}): at least {KEPT_LEASES} leases, so "
            f"{least:g} seconds where claim_stale_seconds is {settings.claim_stale_seconds:g}"
        )


def _allowed(name: str) -> str:
    """Return what a setting takes, in words, empty where there is no more to say than the error does."""
    if name in _PATTERNS:
        return f"use {_PATTERNS[name]}"
    field = next(one for one in inspect.type_info(Settings).fields if one.name == name)  # type: ignore[attr-defined]
    kind = field.type
    if not isinstance(kind, inspect.IntType | inspect.FloatType):
        return ""
    number = "a whole number" if isinstance(kind, inspect.IntType) else "seconds"
    if kind.ge is None:
        return f"use {number}, more than 0, at most {kind.le:.12g}"
    return f"use {number} from {kind.ge:g} to {kind.le:.12g}"


def _known(name: str, origin: str) -> None:
    if name in FIELDS:
        return
    close = difflib.get_close_matches(name, FIELDS, 1)
    hint = f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(FIELDS)
    raise InvalidSetting(f"unknown setting {name[:80]!r} ({origin}): {hint}")


def _shape(name: str, value: Any, origin: str) -> Any:
    """Return a setting's text as the kind of value its field takes; other values unchanged."""
    if not isinstance(value, str):
        return value
    if name in _DURATIONS:
        try:
            return duration(value)
        except InvalidSetting as error:
            raise InvalidSetting(f"{name} ({origin}): {error}") from None
    if name in _LISTS:
        return [part.strip() for part in value.split(",") if part.strip()]
    if name in _WHOLE_NUMBERS and (not value.isascii() or "_" in value):
        raise InvalidSetting(f"{name} ({origin}): {value[:80]!r} is not a number in ASCII digits")
    return value


def _from_environment(environment: Mapping[str, str]) -> list[tuple[str, str, Any]]:
    _no_misspelt(environment)
    found: list[tuple[str, str, Any]] = []
    for names in (ALIASES, ENVIRONMENT):
        found += [
            (f"environment {variable}", name, environment[variable])
            for name, variable in names.items()
            if environment.get(variable)
        ]
    return found


def _no_misspelt(environment: Mapping[str, str]) -> None:
    """Refuse a variable that is nearly one of ours: it would be passed over in silence."""
    known = ENVIRONMENT.values()
    for variable in environment:
        if not variable.startswith("YADTQ_") or variable in known or variable in OTHER_VARIABLES:
            continue
        if close := difflib.get_close_matches(variable, known, 1, cutoff=0.85):
            raise InvalidSetting(f"unknown variable {variable[:80]} in the environment: did you mean {close[0]}?")


def _from_file(folder: Path) -> list[tuple[str, str, Any]]:
    for directory in (folder, *folder.parents):
        own, project = directory / "yadtq.toml", directory / "pyproject.toml"
        if _there(own):
            return [(str(own), name, value) for name, value in _read_toml(own).items()]
        if _there(project):
            tool = _read_toml(project).get("tool")
            table = tool.get("yadtq") if isinstance(tool, dict) else None
            if isinstance(table, dict):
                return [(f"{project} [tool.yadtq]", name, value) for name, value in table.items()]
    return []


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False  # a folder that we may not look into holds no settings of ours


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        if not (path.is_file() or path.is_dir()):
            raise InvalidSetting(f"{path} is no regular file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise InvalidSetting(f"{path} is larger than {MAX_FILE_BYTES // 1024} KiB: not a settings file")
        return tomllib.loads(data.decode())
    except OSError as error:
        raise InvalidSetting(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidSetting(f"{path} is not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise InvalidSetting(f"{path}: arrays or tables nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidSetting(f"{path}: {error}") from None


def with_sections(settings: Settings, kinds: Mapping[str, type]) -> Settings:
    """Return the settings with each plugin's section built; what a file and the environment say of it counts.

    kinds: {section: msgspec Struct}. Raises InvalidSetting with section, field, what came and what is allowed.
    """
    unknown = sorted(set(settings.sections) - set(kinds))
    if unknown:
        known = ", ".join(sorted(kinds)) or "none"
        raise InvalidSetting(f"unknown section [{unknown[0][:80]}]: no plugin that is loaded has it; known: {known}")
    built = {name: _section(name, kind, settings.sections.get(name, {})) for name, kind in kinds.items()}
    return structs.replace(settings, sections=built)


def _section(name: str, kind: type, table: Any) -> Any:
    values = dict(msgspec.to_builtins(table))
    for field in inspect.type_info(kind).fields:  # type: ignore[attr-defined]
        text = os.environ.get(section_variable(name, field.name))
        if text is not None:
            several = isinstance(field.type, inspect.ListType | inspect.VarTupleType | inspect.SetType)
            values[field.name] = [part.strip() for part in text.split(",") if part.strip()] if several else text
    for field_name in values:
        if field_name not in kind.__struct_fields__:  # type: ignore[attr-defined]
            close = difflib.get_close_matches(field_name, kind.__struct_fields__, 1)  # type: ignore[attr-defined]
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise InvalidSetting(f"unknown setting {name}.{field_name[:80]}{hint}")
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidSetting(f"settings of {name}: {error}") from None


def section_variable(section: str, field: str) -> str:
    """Return the environment variable of a plugin's setting: `YADTQ_ACME_WIDTH`."""
    return f"YADTQ_{section.upper().replace('-', '_')}_{field.upper()}"


def duration(text: str) -> float:
    """Return the seconds of `30`, `0.5`, `500ms`, `10m`, `2h` or `7d`; raises InvalidSetting."""
    match = _DURATION.fullmatch(text.strip()) if text.isascii() else None
    if match is None:
        raise InvalidSetting(f"not a duration: {text[:80]!r}; use seconds or 500ms, 10m, 2h, 7d")
    return float(match[1]) * _UNITS[match[2]]


def masked_url(url: str) -> str:
    """Return the address with its passwords replaced by ***, to be shown to people.

    One that is no proper address (a `/` or `#` in the password that was not escaped) loses all before its last @.
    """
    url = _SECRET_OPTION.sub(r"\1***", url)
    try:
        parts = urlsplit(url)
        user = f"{parts.username}:***@" if parts.username and parts.password is not None else "***@"
    except ValueError:
        return _CREDENTIALS.sub("***@", url)
    if "@" in parts.netloc and "@" not in parts.path + parts.query + parts.fragment:
        return urlunsplit(parts._replace(netloc=user + parts.netloc.rpartition("@")[2]))
    return _CREDENTIALS.sub("***@", url)


def masked(name: str, value: Any) -> Any:
    """Return a setting's value to be shown: nothing of what its name says is secret, addresses without passwords."""
    if _SECRET_NAME.search(name) and not name.endswith("_file"):
        return "***" if value else value
    if isinstance(value, Mapping):
        return {key: masked(str(key), one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [masked(name, one) for one in value]
    return masked_url(value) if isinstance(value, str) and (name in ADDRESSES or "://" in value) else value


def default_worker_id() -> str:
    """Return a worker's name where none is given: host and process."""
    host = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:40] or "worker"
    return f"{host}-{os.getpid()}"


def usable_cores() -> int:
    """Return how many cores this process may use: its CPU affinity, and a cgroup's quota where one is set."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, int(quota) if quota else cores))


def _cgroup_quota() -> float | None:
    """Return the CPUs that a cgroup (version 2, else 1) allows, None without a limit."""
    try:
        quota, _, period = Path("/sys/fs/cgroup/cpu.max").read_text().partition(" ")
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text()
        period = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):
        return None


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(allowed)}, got {value!r}")
