"""docker-compose.yml is a valid compose file, and its services keep their data.

Without Docker the file cannot be started, but its schema and the settings that yadtq relies on are tested.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    described: dict[str, Any] = YAML(typ="safe").load(COMPOSE)["services"]
    return described


@pytest.mark.slow
def test_it_follows_the_compose_schema() -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        str(COMPOSE),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["kafka", "redis"])
def test_each_service_is_pinned_health_checked_kept_and_local(services: dict[str, Any], name: str) -> None:
    service = services[name]
    _, version = service["image"].split(":")
    assert version[0].isdigit()
    assert {"test", "interval", "timeout", "retries"} <= service["healthcheck"].keys()
    assert service["volumes"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_kafka_is_the_official_image_in_kraft_mode_at_the_default_address(services: dict[str, Any]) -> None:
    kafka = services["kafka"]
    settings = kafka["environment"]
    assert kafka["image"].startswith("apache/kafka:4.")
    assert settings["KAFKA_PROCESS_ROLES"] == "broker,controller"
    assert "HOST://localhost:9092" in settings["KAFKA_ADVERTISED_LISTENERS"]
    assert kafka["ports"] == ["127.0.0.1:9092:9092"]
    assert kafka["volumes"] == [f"kafka-data:{settings['KAFKA_LOG_DIRS']}"]


def test_redis_appends_every_second_and_evicts_nothing(services: dict[str, Any]) -> None:
    command = " ".join(services["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--appendfsync everysec" in command
    assert "--maxmemory-policy noeviction" in command
