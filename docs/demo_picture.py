"""Records a run of `yadtq demo` as docs/demo.svg: `python -m docs.demo_picture`.

Each column of a line is a text of its own, with a position and a length. So columns stay apart in any font, also when
a viewer has none of the monospaced ones.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from xml.sax.saxutils import escape

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from yadtq_core.client.client import Client
from yadtq_local.stage import LiveStage, picture
from yadtq_local.story import Demo

FILE = Path(__file__).with_name("demo.svg")
COLUMNS = 100
CHARACTER, LINE = 10, 22
"""Pixels."""
MARGIN, TITLE = 20, 50
FONT = "DejaVu Sans Mono, Menlo, Consolas, monospace"
COLOURS = {1: "#ff6b6b", 2: "#7ccf7c", 3: "#e8c15a"}
"""By the number of ANSI: red, green, yellow."""
PLAIN, DIM = "#d8dad8", "#989a98"
HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="{font}" font-size="16" \
role="img" aria-label="A run of yadtq demo">
  <rect width="{width}" height="{height}" rx="8" fill="#292929"/>
  <circle cx="26" cy="24" r="7" fill="#ff5f57"/><circle cx="48" cy="24" r="7" fill="#febc2e"/>\
<circle cx="70" cy="24" r="7" fill="#28c840"/>
  <g xml:space="preserve" fill="{plain}">
"""
_COLUMN = re.compile(r"\S+(?: \S+)*")


class RecordingStage(LiveStage):
    """Prints the lines of the story, and the picture of workers and tasks once, as it is at the end."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._watched: tuple[Client, Mapping[str, str]] | None = None

    def watch(self, client: Client, tasks: Mapping[str, str]) -> None:
        """Remember what the picture shows."""
        self._watched = client, tasks

    def done(self) -> None:
        """Print the picture."""
        if self._watched is not None:
            self._console.print(picture(*self._watched, COLUMNS))
            self._console.print()
            self._watched = None


def main() -> str:
    """Run the demo and write its picture; return what went wrong."""
    printed = StringIO()
    console = Console(width=COLUMNS, file=printed, force_terminal=True, color_system="standard", highlight=False)
    with tempfile.TemporaryDirectory(prefix="yadtq-demo-") as folder:
        wrong = Demo(Path(folder), RecordingStage(console), kafka=False).run()
    if not wrong:
        segments = Text.from_ansi(printed.getvalue()).render(console)
        FILE.write_text(drawn(list(Segment.split_lines(segments))), "utf-8")
    return "\n".join(wrong)


def drawn(lines: list[list[Segment]]) -> str:
    """Return lines of a terminal as an SVG."""
    width, height = COLUMNS * CHARACTER + 2 * MARGIN, TITLE + len(lines) * LINE + MARGIN // 2
    texts = "".join(f"    {text}\n" for number, line in enumerate(lines) for text in texts_of(line, number))
    return HEAD.format(width=width, height=height, font=FONT, plain=PLAIN) + texts + "  </g>\n</svg>\n"


def texts_of(line: list[Segment], number: int) -> Iterator[str]:
    """Yield a text element for each column of each segment of a line."""
    begun = 0
    for segment in line:
        for column in _COLUMN.finditer(segment.text):
            x, y = MARGIN + (begun + column.start()) * CHARACTER, TITLE + (number + 1) * LINE - 6
            length = len(column[0]) * CHARACTER
            place = f'x="{x}" y="{y}" textLength="{length}" lengthAdjust="spacingAndGlyphs"'
            yield f"<text {place}{looks(segment.style)}>{escape(column[0])}</text>"
        begun += len(segment.text)


def looks(style: Style | None) -> str:
    """Return the colour and weight of a segment as attributes."""
    if style is None:
        return ""
    colour = COLOURS.get(style.color.number or 0) if style.color else DIM if style.dim else None
    return (f' fill="{colour}"' if colour else "") + (' font-weight="bold"' if style.bold else "")


if __name__ == "__main__":
    sys.exit(main() or 0)
