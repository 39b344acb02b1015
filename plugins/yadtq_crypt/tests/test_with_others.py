"""The codec with other codecs, in the order of the settings."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import pytest

from yadtq_core import SerializationError, hookimpl, task
from yadtq_core.interfaces import Codec
from yadtq_core.testing import Engine
from yadtq_crypt.plugin import CryptPlugin

KEYS = {"crypt": {"keys": {"k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}}}


class Zlib:
    """Compresses."""

    name = "zlib"

    def encode(self, data: bytes, task_id: str) -> bytes:
        """Compress."""
        return zlib.compress(data)

    def decode(self, data: bytes, task_id: str) -> bytes:
        """Decompress."""
        try:
            return zlib.decompress(data)
        except zlib.error as error:
            raise SerializationError(str(error)) from None


class Compression:
    """Offers the codec."""

    @hookimpl
    def yadtq_codecs(self) -> Sequence[Codec]:
        """Offer the codec."""
        return [Zlib()]


@task(name="text.repeat")
def repeat(text: str) -> str:
    """Return a long text that compresses well."""
    return text * 1000


@pytest.mark.parametrize(
    ("codecs", "least", "most"), [(("zlib", "crypt"), 0, 200), (("crypt", "zlib"), 11_000, 20_000)]
)
def test_codecs_are_applied_in_the_order_of_the_setting_and_undone_in_the_other(
    codecs: tuple[str, ...], least: int, most: int
) -> None:
    """Encrypted data does not compress, so the length shows the order."""
    with Engine(CryptPlugin(), Compression(), codecs=codecs, sections=KEYS) as engine:
        handle = engine.client.submit(repeat, "hello world")
        engine.run_until_idle()
        record = handle.record()
        assert handle.result(timeout=0) == "hello world" * 1000
        assert engine.assert_submitted(repeat, "hello world").task == "text.repeat"
    assert record.content_type == f"application/json;codecs={','.join(codecs)}"
    assert record.result is not None
    assert least <= len(record.result) <= most


def test_a_result_of_another_task_put_in_its_place_is_refused() -> None:
    with Engine(CryptPlugin(), codecs=("crypt",), sections=KEYS) as engine:
        mine, other = engine.client.submit(repeat, "a"), engine.client.submit(repeat, "b")
        engine.run_until_idle()
        stolen: Any = other.record()
        with pytest.raises(SerializationError) as caught:
            engine.client.payloads.result(stolen.result, stolen.content_type, mine.id)
    assert f"the result of task {mine.id} is encoded by codec 'crypt': not what was encrypted for this task" in str(
        caught.value
    )
