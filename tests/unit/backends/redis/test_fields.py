"""The fields of a record: one list, which the scripts, the decoder and the protocol page keep to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from yadtq_core.backends.redis.decoding import record_of
from yadtq_core.backends.redis.keys import Field
from yadtq_core.backends.redis.scripts import ALL
from yadtq_core.model import Record, Status

LUA = Path(__file__).parents[4] / "yadtq_core" / "backends" / "redis" / "lua"
CODES = {field.value for field in Field}
OTHERS = {"id"}
"""Two letters in the scripts that are no field of a record: the ID of an epoch."""


def code_of(file: str) -> str:
    """Return a script without its comments."""
    return re.sub(r"--.*", "", (LUA / file).read_text("utf-8"))


def test_every_code_is_two_letters_and_has_one_name() -> None:
    assert all(re.fullmatch("[a-z]{2}", code) for code in CODES)
    assert len(CODES) == len(Field)


def test_the_scripts_name_no_other_field() -> None:
    for file in LUA.glob("*.lua"):
        assert set(re.findall(r"'([a-z]{2})'", code_of(file.name))) <= CODES | OTHERS, file.name


def test_every_field_is_written_by_a_script() -> None:
    written = {code for script in ALL for code in re.findall(r"'([a-z]{2})'", script.source)}
    assert written >= CODES


def test_the_indexes_of_a_record_have_the_names_of_its_fields() -> None:
    prelude = code_of("prelude.lua")
    numbered: dict[int, str] = {}
    for names, numbers in re.findall(r"local ([A-Z_, ]+) = ([\d, ]+)\n", prelude):
        numbered |= dict(zip(map(int, numbers.split(",")), names.split(", "), strict=True))
    found = re.search(r"local RECORD = \{(.*)\}", prelude)
    assert found is not None
    codes = re.findall(r"'(\w+)'", found[1])
    assert [Field(code).name for code in codes] == [numbered[index] for index in range(1, len(codes) + 1)]
    assert len(numbered) == len(codes)


@pytest.mark.parametrize("file", sorted(file.name for file in LUA.glob("*.lua")))
def test_each_field_that_is_read_has_a_name(file: str) -> None:
    for names, codes in re.findall(r"local ([\w, ]+) = unpack\(call\('HMGET', \w+, ([^)]*)\)\)", code_of(file)):
        assert len(names.split(", ")) == len(codes.split(", ")), names
    assert not re.search(r"\br\[\d", code_of(file)), "a field is read by its number"


def test_a_record_with_the_first_three_fields_is_whole() -> None:
    found = record_of("a", {b"st": b"queued", b"tk": b"add", b"sa": b"1500"})
    assert found == Record(id="a", task="add", status=Status.QUEUED, queue="default", submitted_at=1.5)


@pytest.mark.parametrize("missing", [Field.STATUS, Field.TASK, Field.SUBMITTED_AT])
def test_a_record_without_one_of_them_is_damaged(missing: Field) -> None:
    fields = {b"st": b"queued", b"tk": b"add", b"sa": b"1500"}
    del fields[missing.encode()]
    found = record_of("a", fields)
    assert found is not None
    assert found.error is not None
    assert found.error.message == f"record is damaged: field '{missing}' is missing"


def test_a_field_of_a_newer_version_is_ignored() -> None:
    fields = {b"st": b"queued", b"tk": b"add", b"sa": b"1500"}
    assert record_of("a", fields | {b"zz": b"\xff", b"\xff": b"1"}) == record_of("a", fields)
