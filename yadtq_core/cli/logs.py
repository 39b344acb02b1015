"""Logs on stderr: one line of text or one JSON object per entry."""

import json
import logging
import sys
import time

from yadtq_core.cli.output import escape

_OURS = "yadtq"
_LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error")}
_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class _Console(logging.Formatter):
    """`12:03:04 INFO message` with control characters escaped. A traceback keeps its lines."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{moment} {record.levelname} {escape(record.getMessage())}"
        if record.exc_info:
            trace = self.formatException(record.exc_info).splitlines()
            line = "\n".join([line, *(escape(part) for part in trace)])
        return line


class _Json(logging.Formatter):
    """One object per line: time (seconds since the epoch), level, logger, message, and the fields of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        shown = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        shown |= {name: value for name, value in vars(record).items() if name not in _ATTRIBUTES}
        if record.exc_info:
            shown["traceback"] = self.formatException(record.exc_info)
        return json.dumps(shown, default=str)


def set_up(level: str, style: str) -> None:
    """Send logs to stderr. level: debug, info, warning or error; style: console or json.

    Messages of the libraries kafka, redis and asyncio appear at debug only, because yadtq logs the state of the
    services itself.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Console())
    logging.basicConfig(handlers=[handler], level=_LEVELS[level], force=True)
    foreign = logging.DEBUG if level == "debug" else logging.CRITICAL
    for library in ("kafka", "redis", "asyncio"):
        logging.getLogger(library).setLevel(foreign)
