"""Every backend of the core keeps the promises of the seam."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.backends.redis.bed import Bed
from tests.services import NOWHERE
from yadtq_core.settings import Settings
from yadtq_core.testing import BackendContract


def cleaned(url: str, namespace: str) -> Iterator[Settings]:
    """Yield a namespace's settings; remove its keys afterwards."""
    yield Settings(backend=url, namespace=namespace)
    bed = Bed(url, namespace)
    bed.lose_everything()
    bed.close()


class TestRedisOnValkey(BackendContract):
    @pytest.fixture
    def settings(self, redis_url: str, namespace: str) -> Iterator[Settings]:
        yield from cleaned(redis_url, namespace)

    @pytest.fixture
    def unreachable(self, namespace: str) -> Settings:
        return Settings(backend=f"redis://{NOWHERE}", namespace=namespace)


class TestRedisOnRedis(BackendContract):
    @pytest.fixture
    def settings(self, redis_server_url: str, namespace: str) -> Iterator[Settings]:
        yield from cleaned(redis_server_url, namespace)


class TestRedisOfSeveralShards(BackendContract):
    @pytest.fixture
    def settings(self, redis_url: str, namespace: str) -> Iterator[Settings]:
        yield Settings(backend=redis_url, namespace=namespace, shards=3)
        bed = Bed(redis_url, namespace, shards=3)
        bed.lose_everything()
        bed.close()


class TestMemory(BackendContract):
    @pytest.fixture
    def settings(self, namespace: str) -> Settings:
        return Settings(broker="memory://", backend="memory://", namespace=namespace)
