"""Arguments and results as bytes and back: a serializer writes them, codecs then compress or encrypt the bytes.

Arguments are always JSON, so that every worker can read them without a plugin. The serializer of a result is that of
its task. The names of serializer and codecs are stored beside the bytes: in the field `codecs` of a message
(`zlib,crypt`), and in the content type of a result (`application/json;codecs=zlib,crypt`). These names are only looked
up among those that plugins offer; they never name a class or a function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from yadtq_core.errors import CodecError, InvalidSetting, SerializationError
from yadtq_core.installed import reason
from yadtq_core.interfaces import Codec, Serializer

_PARAMETER = ";codecs="
_NO_ID = "00000000-0000-0000-0000-000000000000"
"""The task ID of bytes that belong to no task."""
# The base64 decoder of msgspec is as strict as that of the standard library and 4 times as fast (measured).
_as_text = msgspec.json.Encoder().encode
_from_text = msgspec.json.Decoder(bytes).decode


class Payloads:
    """The serializers and codecs of one process. Safe for use by several threads.

    serializers, codecs: by name. applied: names of the codecs for outgoing bytes, in the order of their use; raises
    InvalidSetting if no plugin offers one of them.
    """

    def __init__(
        self, serializers: Mapping[str, Serializer], codecs: Mapping[str, Codec], applied: Sequence[str]
    ) -> None:
        for name in applied:
            if name not in codecs:
                known = ", ".join(sorted(codecs)) or "none"
                raise InvalidSetting(f"codecs = {name!r}: no codec of this name is installed; known: {known}")
        self._serializers = serializers
        self._by_type = {serializer.content_type: serializer for serializer in serializers.values()}
        self._codecs = codecs
        self._applied = [codecs[name] for name in applied]
        self._names = ",".join(applied)
        self.json = serializers["json"]

    def serializer(self, name: str) -> Serializer:
        """Return the serializer of this name; raises SerializationError."""
        if name not in self._serializers:
            raise SerializationError(f"no serializer is named {name!r}; known: {', '.join(sorted(self._serializers))}")
        return self._serializers[name]

    def outgoing_arguments(self, data: bytes, task_id: str) -> tuple[Raw, str]:
        """Return serialised arguments as they stand in a message, and the names of the codecs that were applied."""
        if not self._applied:
            return Raw(data), ""
        return Raw(_as_text(self._encoded(data, task_id))), self._names

    def arguments(self, data: bytes, codecs: str, task_id: str) -> Any:
        """Return the arguments of a message; raises SerializationError.

        It is a CodecError if another process may be able to read them. A codec with the wrong key may return bytes that
        are no JSON.
        """
        if not codecs:
            return self.json.loads(data)
        try:
            data = _from_text(data)
        except msgspec.MsgspecError:
            raise SerializationError("not base64 text, which arguments with codecs must be") from None
        data = self._decoded(data, codecs, task_id)
        try:
            return self.json.loads(data)
        except SerializationError as error:
            raise CodecError(f"{error}, after they were decoded by {codecs[:80]!r}") from None

    def check(self) -> None:
        """Encode a few bytes by the applied codecs: a worker without a key must not find out after a run.

        Raises SerializationError.
        """
        try:
            self._encoded(b"[[],{}]", _NO_ID)
        except SerializationError as error:
            raise SerializationError(f"results cannot be encoded here: {error}") from error.__cause__

    def outgoing_result(self, data: bytes, content_type: str, task_id: str) -> tuple[bytes, str]:
        """Return a serialised result and its content type as the record keeps them."""
        if not self._applied:
            return data, content_type
        return self._encoded(data, task_id), f"{content_type}{_PARAMETER}{self._names}"

    def result(self, data: bytes, content_type: str, task_id: str) -> Any:
        """Return the result of a task; raises SerializationError, which names a missing serializer or codec."""
        plain, _, codecs = content_type.partition(_PARAMETER)
        serializer = self._by_type.get(plain) if plain else self.json
        if serializer is None:
            raise SerializationError(
                f"the result of task {task_id} is {plain[:80]}, which is not installed here; install the plugin that "
                f"the worker wrote it with (known: {', '.join(sorted(self._by_type))})"
            )
        try:
            data = self._decoded(data, codecs, task_id) if codecs else data
            return serializer.loads(data)
        except SerializationError as error:
            raise SerializationError(f"the result of task {task_id} is {error}") from None
        except Exception as error:  # a serializer is foreign code, and the data may be arbitrary
            raise SerializationError(
                f"the result of task {task_id} cannot be read: serializer {serializer.name!r}: {reason(error)}"
            ) from error

    def _encoded(self, data: bytes, task_id: str) -> bytes:
        for codec in self._applied:
            data = _bytes(f"codec {codec.name!r}", codec.encode, data, task_id)
        return data

    def _decoded(self, data: bytes, names: str, task_id: str) -> bytes:
        for name in reversed(names.split(",")):
            codec = self._codecs.get(name)
            if codec is None:
                raise CodecError(
                    f"encoded by codec {name[:80]!r}, which is not installed here; install the plugin that offers it"
                )
            try:
                data = _bytes(f"encoded by codec {name!r}", codec.decode, data, task_id)
            except SerializationError as error:
                raise CodecError(str(error)) from error.__cause__
        return data


def dumped(serializer: Serializer, value: Any) -> bytes:
    """Return the bytes of a value; raises only SerializationError, also for other exceptions of the serializer."""
    what = "result not JSON" if serializer.name == "json" else f"result not {serializer.name}"
    return _bytes(what, serializer.dumps, value)


def _bytes(what: str, make: Callable[..., Any], *arguments: Any) -> bytes:
    """Return the bytes that a serializer or codec makes: foreign code, which may raise and return anything."""
    try:
        made = make(*arguments)
    except SerializationError as error:
        raise SerializationError(f"{what}: {error}") from None
    except Exception as error:
        raise SerializationError(f"{what}: {reason(error)}") from error
    if not isinstance(made, bytes):
        raise SerializationError(f"{what}: it returned {type(made).__name__}, not bytes")
    return made
