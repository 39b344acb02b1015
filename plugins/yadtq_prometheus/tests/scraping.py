"""Reading an endpoint as Prometheus does."""

from __future__ import annotations

from urllib.request import urlopen

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Scrape:
    """One answer of an endpoint."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples: Samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def value(self, sample: str, **labels: str) -> float | None:
        """Return the value of the sample with exactly these labels, None if there is none."""
        return self.samples.get((sample, tuple(sorted(labels.items()))))

    def names(self) -> set[str]:
        """Return the names of all samples."""
        return {name for name, _ in self.samples}


def scrape(url: str) -> Scrape:
    """Read an endpoint."""
    with urlopen(url, timeout=60) as answer:
        assert answer.status == 200
        return Scrape(answer.read().decode())


def seen(registry: CollectorRegistry) -> Scrape:
    """Read a registry without an endpoint."""
    return Scrape(generate_latest(registry).decode())
