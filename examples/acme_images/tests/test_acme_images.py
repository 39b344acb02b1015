"""The plugin without services: the fixtures come with yadtq."""

import logging
import struct
from pathlib import Path

import pytest

from acme_images.tasks import measure
from yadtq_core import TaskFailed


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """The beginning of a PNG picture of 640 by 480 pixels."""
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480))
    return path


def test_the_function(picture: Path) -> None:
    assert measure(str(picture)) == {"width": 640, "height": 480}


def test_it_runs_by_its_name(yadtq_client, run_until_idle, picture: Path) -> None:
    handle = yadtq_client.submit("acme_images.measure", str(picture))
    run_until_idle()
    assert handle.result(timeout=0) == {"width": 640, "height": 480}


def test_what_is_no_picture_fails_after_its_retries(yadtq_client, run_until_idle, picture: Path) -> None:
    picture.write_bytes(b"GIF89a")
    handle = yadtq_client.submit(measure, str(picture))
    assert len(run_until_idle()) == 3
    with pytest.raises(TaskFailed, match="is no PNG picture"):
        handle.result(timeout=0)


def test_a_worker_tells_its_tally(yadtq_engine, run_until_idle, picture: Path, caplog) -> None:
    caplog.set_level(logging.INFO, "acme_images")
    yadtq_engine.client.submit(measure, str(picture))
    run_until_idle()
    yadtq_engine.close()
    assert "pictures measured: 1, failed: 0" in caplog.text
