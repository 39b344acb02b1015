"""The settings: one frozen value, and the origin of each of its fields. `load` reads them.

A later source overrides an earlier one: defaults, `yadtq.toml` or `[tool.yadtq]` of pyproject.toml (the nearest file at
or above the working directory), environment, code or command line.
"""

from __future__ import annotations

import difflib
import os
import re
import socket
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
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
    """The settings of a client or worker. Durations are in seconds."""

    broker: str = DEFAULT_BROKER
    """Address of the broker; its scheme chooses the implementation."""
    backend: str = DEFAULT_BACKEND
    """Address of the backend; its scheme chooses the implementation."""
    broker_password: str = ""
    """Password or token of the broker, if the address has none. Best set in the environment."""
    backend_password: str = ""
    """Password of the backend, if the address has none. Best set in the environment."""
    namespace: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}\Z")] = "main"
    """Separates installations that share services: a part of the name of every topic and key."""
    worker_id: Name = msgspec.field(default_factory=lambda: default_worker_id())  # noqa: PLW0108 - defined below
    """Name of the worker; also the variable WORKER_ID."""
    queues: Annotated[tuple[str, ...], Meta(min_length=1, max_length=64)] = ("default",)
    """The queues that a worker serves; a worker or client creates their missing topics."""
    imports: tuple[str, ...] = ()
    """Modules whose @task functions are registered; they may be in the working directory."""
    claim_stale_seconds: Annotated[float, Meta(ge=1, le=86400)] = 15.0
    """The lease: another worker runs a task whose worker has not extended its lease for this long. A worker
    extends its leases and sends heartbeats at least every third of this time."""
    processes: Annotated[int, Meta(ge=1, le=256)] = msgspec.field(default_factory=lambda: usable_cores())  # noqa: PLW0108 - defined below
    """Child processes of a worker; default: the usable cores, limited by the CPU quota of a cgroup."""
    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    """Tasks that run at the same time in each child process."""
    partitions: Annotated[int, Meta(ge=1, le=4096)] = 8
    """Partitions of the topic of each queue."""
    replication: Annotated[int, Meta(ge=0, le=16)] = 0
    """Replicas of each topic when it is created; 0: 3 if there are at least 3 brokers, else 1."""
    retention: Seconds = 7 * 86400.0
    """How long the broker keeps messages."""
    shards: Annotated[int, Meta(ge=1, le=256)] = 1
    """Hash slots over which the task records are spread; more than 1 only for a Redis Cluster."""
    submit_timeout: Annotated[float, Meta(ge=0.1, le=3600)] = 5.0
    """How long a submit waits for the broker's acknowledgement."""
    publish_grace: Annotated[float, Meta(ge=0.1, le=3600)] = 10.0
    """A worker runs a task from its record if its message was not confirmed within this time."""
    lost_limit: Annotated[int, Meta(ge=0, le=1000)] = 3
    """How many times a task is started again after its worker or child was lost, before it fails."""
    result_ttl: Annotated[float, Meta(ge=1, le=10 * 365 * 86400)] = 86400.0
    """How long the record of an ended task is kept: at least 4 leases (`claim_stale_seconds`)."""
    unknown_task_ttl: Annotated[float, Meta(ge=1, le=10 * 365 * 86400)] = 86400.0
    """How long a task that no worker has loaded waits for such a worker, before it fails."""
    shutdown_grace: Annotated[float, Meta(ge=0, le=86400)] = 25.0
    """How long the running tasks of a stopping worker may continue, before the worker requeues them."""
    codecs: tuple[str, ...] = ()
    """Codecs of plugins that are applied to arguments and results, in this order."""
    log_level: str = "info"
    """debug, info, warning or error."""
    log_format: str = "console"
    """console or json."""
    sections: dict[str, Any] = {}
    """Settings of plugins by section: tables as read from the sources, structs after the plugins are loaded."""

    def section(self, kind: type[S]) -> S:
        """Return the settings of a plugin. kind: their struct. Raises InvalidSetting if no plugin offers it."""
        for value in self.sections.values():
            if isinstance(value, kind):
                return value
        raise InvalidSetting(f"{kind.__name__} is not a section of these settings: offer it by the hook yadtq_settings")

    def __post_init__(self) -> None:
        for queue in self.queues:
            try:
                check_queue(queue)
            except InvalidInput as error:
                raise ValueError(str(error)) from None  # msgspec passes on a ValueError, with the name of the setting
        _one_of("log_level", self.log_level, ("debug", "info", "warning", "error"))
        _one_of("log_format", self.log_format, ("console", "json"))


KEPT_LEASES = 4
"""The shortest `result_ttl`, in leases."""


class Loaded(NamedTuple):
    """Settings, and the origin of each field; fields of a section (`acme.width`) have one only if they are set."""

    settings: Settings
    origins: dict[str, str]


FIELDS = tuple(name for name in Settings.__struct_fields__ if name != "sections")
"""The names of the core's settings."""
ENVIRONMENT = {name: f"YADTQ_{name.upper()}" for name in FIELDS}
OTHER_VARIABLES = frozenset({"YADTQ_BLOCK_PLUGINS", "YADTQ_TRACE_PLUGINS"})
ALIASES = {"worker_id": "WORKER_ID", "claim_stale_seconds": "CLAIM_STALE_SECONDS"}
"""Short names of variables; the YADTQ_ name wins if both are set."""
ADDRESSES = ("broker", "backend")
_DURATIONS = frozenset(
    name for name, kind in Settings.__annotations__.items() if "float" in str(kind) or kind == "Seconds"
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

    given: values from code or the command line, with the origin "given"; None values are ignored.
    environment: default: `os.environ`. folder: start of the search for a file; default: the working directory.
    found: called with that folder if no source has an address; returns (origin, settings), or None.

    Raises InvalidSetting with the name of the setting, the value, its origin and the allowed range.
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
            values.setdefault("sections", {})[name] = dict(value)  # `with_sections` finds the plugin
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
    """Raise for a short `result_ttl`: a delivery without a record looks like a task that the store has lost."""
    least = KEPT_LEASES * settings.claim_stale_seconds
    if settings.result_ttl < least:
        raise InvalidSetting(
            f"result_ttl = {settings.result_ttl:g} ({origins['result_ttl']}): use at least {KEPT_LEASES} leases, "
            f"{least:g} seconds with claim_stale_seconds = {settings.claim_stale_seconds:g}"
        )


def _allowed(name: str) -> str:
    """Return the allowed values of a setting in words, empty if the error has said it."""
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
    if name not in FIELDS:
        close = difflib.get_close_matches(name, FIELDS, 1)
        hint = f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(FIELDS)
        raise InvalidSetting(f"unknown setting {name[:80]!r} ({origin}): {hint}")


def _shape(name: str, value: Any, origin: str) -> Any:
    """Return the text of a setting as the type of its field; other values unchanged."""
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
    return [
        (f"environment {variable}", name, environment[variable])
        for name, variable in (*ALIASES.items(), *ENVIRONMENT.items())
        if environment.get(variable)
    ]


def _no_misspelt(environment: Mapping[str, str]) -> None:
    """Raise for a variable that is close to a known one: otherwise it would be ignored without a message."""
    known = (*ENVIRONMENT.values(), *OTHER_VARIABLES)
    for variable in environment:
        if variable in known or not variable.startswith("YADTQ_"):
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
        return False  # a folder without read permission has no settings for this user


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        if not (path.is_file() or path.is_dir()):
            raise InvalidSetting(f"{path} is not a regular file")
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
    """Return the settings with the section of each plugin as its struct, from file and environment.

    kinds: {section: msgspec Struct}. Raises InvalidSetting with section, field, value and allowed values.
    """
    unknown = sorted(set(settings.sections) - set(kinds))
    if unknown:
        known = ", ".join(sorted(kinds)) or "none"
        raise InvalidSetting(f"unknown section [{unknown[0][:80]}]: no loaded plugin has it; known: {known}")
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
    """Return the address for messages, with each password replaced by ***.

    In an invalid address (an unescaped `/` or `#` in the password) everything before the last @ is masked.
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
    """Return a value for messages: *** for a setting with the name of a secret, addresses without passwords."""
    if _SECRET_NAME.search(name) and not name.endswith("_file"):
        return "***" if value else value
    if isinstance(value, Mapping):
        return {key: masked(str(key), one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [masked(name, one) for one in value]
    return masked_url(value) if isinstance(value, str) and (name in ADDRESSES or "://" in value) else value


def default_worker_id() -> str:
    """Return the default name of a worker: host and process ID."""
    host = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:40] or "worker"
    return f"{host}-{os.getpid()}"


def usable_cores() -> int:
    """Return the number of cores that this process may use, by its CPU affinity and the quota of a cgroup."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, int(quota) if quota else cores))


def _cgroup_quota() -> float | None:
    """Return the CPU limit of a cgroup (version 2, else 1), None without a limit."""
    with suppress(OSError, ValueError):
        quota, _, period = Path("/sys/fs/cgroup/cpu.max").read_text().partition(" ")
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text()
        period = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else None
    return None


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(allowed)}, got {value!r}")
