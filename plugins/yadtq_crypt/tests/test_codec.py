"""The codec: encryption, the right reader, and the errors for unreadable data."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yadtq_core import SerializationError
from yadtq_crypt.codec import CryptCodec

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
TASK = "0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"
OTHER_TASK = "1b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"
CODEC = CryptCodec({"2026-10": OLD, "2026-11": NEW}, "2026-11")
TEXT = b"the quick brown fox"


def refusal(codec: CryptCodec, data: bytes, task_id: str = TASK) -> str:
    """Return the error for unreadable data."""
    with pytest.raises(SerializationError) as caught:
        codec.decode(data, task_id)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@given(st.binary())
def test_it_comes_back(data: bytes) -> None:
    sealed = CODEC.encode(data, TASK)
    assert CODEC.decode(sealed, TASK) == data
    assert len(sealed) == len(data) + 2 + len("2026-11") + 12 + 16


def test_it_says_its_key_and_hides_the_rest() -> None:
    sealed = CODEC.encode(TEXT, TASK)
    assert sealed.startswith(b"\x01\x072026-11")
    assert not any(word in sealed for word in TEXT.split())


def test_the_same_data_is_never_the_same_twice() -> None:
    assert len({CODEC.encode(TEXT, TASK) for _ in range(1000)}) == 1000


def test_what_an_older_key_wrote_stays_readable() -> None:
    before = CryptCodec({"2026-10": OLD}, "2026-10")
    assert CODEC.decode(before.encode(TEXT, TASK), TASK) == TEXT


def test_a_blob_written_by_this_format_stays_readable_for_ever() -> None:
    """Made by `CryptCodec({"k": bytes(range(32))}, "k").encode(b"yadtq", TASK)` on the day of the first release."""
    kept = base64.b64decode("AQFrMGfxCjSrk7KycxDKz4Gfonb1AgDZTIJouud8WIm0jCvm")
    assert CryptCodec({"k": OLD}, "k").decode(kept, TASK) == b"yadtq"


def test_a_key_that_is_missing_is_named_beside_those_that_are_there() -> None:
    sealed = CryptCodec({"2026-10": OLD}, "2026-10").encode(TEXT, TASK)
    said = "encrypted with key '2026-10', which is not among crypt.keys (have: {}): add it"
    assert refusal(CryptCodec({"2026-11": NEW}, "2026-11"), sealed) == said.format("'2026-11'")
    assert refusal(CryptCodec({}, ""), sealed) == said.format("none")


def test_it_cannot_be_moved_to_another_task() -> None:
    assert "the bytes were changed or moved here" in refusal(CODEC, CODEC.encode(TEXT, TASK), OTHER_TASK)


def test_it_cannot_be_given_the_name_of_another_key() -> None:
    """Also if both IDs have the same key."""
    same = CryptCodec({"2026-10": NEW, "2026-11": NEW}, "2026-11")
    renamed = same.encode(TEXT, TASK).replace(b"2026-11", b"2026-10")
    assert "not what was encrypted for this task with key '2026-10'" in refusal(same, renamed)


def test_no_changed_bit_passes() -> None:
    sealed = CODEC.encode(TEXT, TASK)
    for place in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[place] ^= 1 << bit
            refusal(CODEC, bytes(changed))


def test_nothing_that_was_cut_passes() -> None:
    sealed = CODEC.encode(b"", TASK)
    for length in range(len(sealed)):
        refusal(CODEC, sealed[:length])


@given(st.binary(max_size=80))
def test_any_bytes_are_decrypted_or_refused(data: bytes) -> None:
    refusal(CODEC, data)


def test_a_format_to_come_is_said_to_be_one() -> None:
    said = refusal(CODEC, b"\x02" + CODEC.encode(TEXT, TASK)[1:])
    assert said == "of format 2, not known here: upgrade yadtq-crypt, unless it was changed"


def test_without_a_key_nothing_is_written() -> None:
    with pytest.raises(SerializationError, match=r"no key to encrypt with: set crypt\.keys"):
        CryptCodec({}, "").encode(TEXT, TASK)


def test_threads_share_it() -> None:
    def there_and_back(number: int) -> bool:
        data = str(number).encode() * 1000
        return CODEC.decode(CODEC.encode(data, TASK), TASK) == data

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(there_and_back, range(2000)))
