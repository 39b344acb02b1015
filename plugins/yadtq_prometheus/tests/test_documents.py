"""The README's tables and the dashboard agree with the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from yadtq_core.interfaces import WorkerIdentity
from yadtq_prometheus import catalogue
from yadtq_prometheus.catalogue import Described
from yadtq_prometheus.config import PrometheusSettings
from yadtq_prometheus.metrics import WorkerMetrics

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
DASHBOARD = json.loads((files("yadtq_prometheus") / "dashboard.json").read_text("utf-8"))
ALL = (*catalogue.OF_WORKER, *catalogue.OF_QUEUES)


def shown(one: Described) -> str:
    """Return a metric's name as Prometheus shows it."""
    return f"{one.name}_total" if one.kind == "counter" else one.name


def table(header: str) -> list[list[str]]:
    """Return the cells of a table of the README."""
    rows = README.split(header)[1].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row.startswith("| ")]


def test_the_table_of_metrics_is_the_catalogue() -> None:
    expected = [[f"`{shown(one)}`", one.kind, ", ".join(one.labels), one.text] for one in ALL]
    assert table("| metric | kind | labels | meaning |") == expected


def test_the_catalogue_is_what_a_worker_measures() -> None:
    registry = CollectorRegistry()
    WorkerMetrics(registry, PrometheusSettings(), WorkerIdentity("w", "i", "h", 1, 0.0))
    made = {family.name: (family.type, family.documentation) for family in registry.collect()}
    assert made == {one.name: (one.kind, one.text) for one in catalogue.OF_WORKER}


def test_the_table_of_settings_is_the_struct() -> None:
    source = Path(str(files("yadtq_prometheus") / "config.py")).read_text("utf-8")
    told = re.findall(r'^    (\w+): .*\n    """(.*)"""$', source, re.MULTILINE)
    assert [(name.strip("`"), text) for name, _, text in table("| setting | default | meaning |")] == told
    assert [name for name, _ in told] == list(PrometheusSettings.__struct_fields__)


def expressions() -> Iterator[Any]:
    """Yield (title, expression) of each query of the dashboard."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for variable in DASHBOARD["templating"]["list"][1:]:
        yield pytest.param(variable["definition"], id=variable["label"])


SAMPLES = {
    **{shown(one): set(one.labels) for one in ALL if one.kind != "histogram"},
    **{f"{one.name}_bucket": {*one.labels, "le"} for one in ALL if one.kind == "histogram"},
}
GIVEN_BY_PROMETHEUS = {"job", "instance"}


@pytest.mark.parametrize("expression", list(expressions()))
def test_every_query_of_the_dashboard_is_of_what_there_is(expression: str) -> None:
    names = set(re.findall(r"\byadtq_\w+", expression))
    assert names, expression
    assert names <= set(SAMPLES), expression
    known = set.union(*(SAMPLES[name] for name in names)) | GIVEN_BY_PROMETHEUS
    grouped = re.findall(r"by \(([^)]*)\)", expression) + re.findall(r"label_values\(\w+, (\w+)\)", expression)
    used = {label.strip() for group in grouped for label in group.split(",")}
    used |= set(re.findall(r"(\w+)=~?\"", expression))
    assert used <= known, expression
    assert expression.count("(") == expression.count(")")


def test_the_dashboard_shows_all_that_is_measured() -> None:
    text = json.dumps(DASHBOARD)
    assert [one.name for one in ALL if one.name not in text] == []


def test_the_dashboards_panels_have_their_places() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    identities = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identities)) == len(identities)
