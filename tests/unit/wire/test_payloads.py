"""Arguments and results as bytes and back, through serializers and codecs."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yadtq_core import InvalidSetting, SerializationError
from yadtq_core.wire.json_format import JsonSerializer
from yadtq_core.wire.payloads import Payloads

TASK = "0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"
OTHER_TASK = "1b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"
JSON = "application/json"


class Plain:
    """A serializer of text alone."""

    name = "plain"
    content_type = "text/plain"

    def dumps(self, value: Any) -> bytes:
        """Return the text."""
        return str(value).encode()

    def loads(self, data: bytes) -> Any:
        """Return the text."""
        return data.decode()


class Zlib:
    """A codec that compresses."""

    name = "zlib"

    def encode(self, data: bytes, task_id: str) -> bytes:
        """Compress."""
        return zlib.compress(data)

    def decode(self, data: bytes, task_id: str) -> bytes:
        """Decompress."""
        try:
            return zlib.decompress(data)
        except zlib.error:
            raise SerializationError("not zlib") from None


class Bound:
    """A codec that binds what it writes to the task, and refuses the word `secret`."""

    name = "bound"

    def encode(self, data: bytes, task_id: str) -> bytes:
        """Put the ID before the data."""
        if b"secret" in data:
            raise SerializationError("may not leave")
        return task_id.encode() + data

    def decode(self, data: bytes, task_id: str) -> bytes:
        """Take the ID off."""
        if not data.startswith(task_id.encode()):
            raise SerializationError("of another task")
        return data[len(task_id) :]


def payloads(*applied: str, without: str = "") -> Payloads:
    """Return payloads with all serializers and codecs, these codecs applied."""
    codecs = {one.name: one for one in (Zlib(), Bound()) if one.name != without}
    return Payloads({"json": JsonSerializer(), "plain": Plain()}, codecs, applied)


def refusal(function: Any, *arguments: Any) -> str:
    """Return what is said of what cannot be done."""
    with pytest.raises(SerializationError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_codecs_all_leaves_as_it_is() -> None:
    plain = payloads()
    data = b'[["a"],{}]'
    assert plain.outgoing_arguments(data, TASK) == (msgspec.Raw(data), "")
    assert plain.outgoing_result(data, JSON, TASK) == (data, JSON)
    assert plain.arguments(data, "", TASK) == [["a"], {}]
    assert plain.result(data, JSON, TASK) == [["a"], {}]


def test_codecs_are_applied_in_order_and_named_in_order() -> None:
    data = b'["aaaaaaaaaaaaaaaaaaaaaaaa"]'
    encoded, content_type = payloads("zlib", "bound").outgoing_result(data, JSON, TASK)
    assert content_type == "application/json;codecs=zlib,bound"
    assert encoded == TASK.encode() + zlib.compress(data)
    other_way, content_type = payloads("bound", "zlib").outgoing_result(data, JSON, TASK)
    assert content_type == "application/json;codecs=bound,zlib"
    assert zlib.decompress(other_way) == TASK.encode() + data


def test_encoded_arguments_are_one_text_of_base64_in_the_message() -> None:
    raw, names = payloads("zlib").outgoing_arguments(b"[[1],{}]", TASK)
    assert names == "zlib"
    assert zlib.decompress(base64.b64decode(msgspec.json.decode(bytes(raw), type=str))) == b"[[1],{}]"


@pytest.mark.parametrize("applied", [(), ("zlib",), ("bound", "zlib"), ("zlib", "bound", "zlib")])
@given(value=st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_payloads_survive_the_trip_with_the_codecs_installed(applied: tuple[str, ...], value: Any) -> None:
    """The codecs that this side applies do not matter: after a change of the setting, old payloads stay readable."""
    writer, reader = payloads(*applied), payloads()
    data = writer.json.dumps(value)
    raw, names = writer.outgoing_arguments(data, TASK)
    assert reader.arguments(bytes(raw), names, TASK) == value
    assert reader.result(*writer.outgoing_result(data, JSON, TASK), TASK) == value


def test_a_result_is_read_by_the_serializer_that_wrote_it() -> None:
    assert payloads().result(b"5", "text/plain", TASK) == "5"
    assert payloads().result(*payloads("zlib").outgoing_result(b"5", "text/plain", TASK), TASK) == "5"
    assert payloads().serializer("plain").content_type == "text/plain"


def test_a_result_of_an_older_release_names_no_content_type_and_is_json() -> None:
    assert payloads().result(b"5", "", TASK) == 5


def test_a_codec_in_the_settings_that_is_not_installed_stops_the_start() -> None:
    with pytest.raises(InvalidSetting) as caught:
        payloads("lzma")
    assert str(caught.value) == "codecs = 'lzma': no codec of this name is installed; known: bound, zlib"


def test_a_codec_that_is_not_installed_is_named() -> None:
    said = "encoded by codec 'zlib', which is not installed here; install the plugin that offers it"
    encoded, content_type = payloads("zlib").outgoing_result(b"5", JSON, TASK)
    assert (
        refusal(payloads(without="zlib").result, encoded, content_type, TASK) == f"the result of task {TASK} is {said}"
    )
    raw, names = payloads("zlib").outgoing_arguments(b"5", TASK)
    assert refusal(payloads(without="zlib").arguments, bytes(raw), names, TASK) == said
    assert refusal(payloads().serializer, "toml") == "no serializer is named 'toml'; known: json, plain"
    assert refusal(payloads().result, b"5", "application/toml", TASK) == (
        f"the result of task {TASK} is application/toml, which is not installed here; "
        "install the plugin that the worker wrote it with (known: application/json, text/plain)"
    )


def test_an_error_of_a_codec_has_its_name() -> None:
    assert refusal(payloads("bound").outgoing_result, b'"secret"', JSON, TASK) == "codec 'bound': may not leave"
    assert refusal(payloads("bound").outgoing_arguments, b'"secret"', TASK) == "codec 'bound': may not leave"
    raw, names = payloads("bound").outgoing_arguments(b"5", TASK)
    assert refusal(payloads().arguments, bytes(raw), names, OTHER_TASK) == "encoded by codec 'bound': of another task"
    assert refusal(payloads().result, b"5", f"{JSON};codecs=zlib", TASK) == (
        f"the result of task {TASK} is encoded by codec 'zlib': not zlib"
    )


def test_a_result_with_a_wrong_content_type_names_its_task() -> None:
    assert refusal(payloads().result, b"{", JSON, TASK).startswith(f"the result of task {TASK} is not JSON: ")


@pytest.mark.parametrize("data", [b"5", b'"%%%"', b"{", b'"\xff"', b'"aGk"', b"", '"ä"'.encode()])
def test_arguments_that_are_no_base64_are_said_to_be_none(data: bytes) -> None:
    said = refusal(payloads().arguments, data, "zlib", TASK)
    assert said == "not base64 text, which arguments with codecs must be"


def test_a_long_name_from_a_message_is_cut() -> None:
    assert len(refusal(payloads().arguments, b'""', "x" * 10_000, TASK)) < 200
    assert len(refusal(payloads().result, b"", "x" * 10_000, TASK)) < 300
