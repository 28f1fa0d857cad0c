"""A report as a list of blocks, written as Markdown with plots beside it and as one HTML file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from onnx_export.tables import markdown


@dataclass(frozen=True)
class Heading:
    """A section's title."""

    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph; `code` between back quotes."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head."""

    head: Sequence[str]
    lines: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Plot:
    """An SVG under a file name."""

    name: str
    svg: str


Block = Heading | Text | Table | Plot

_STYLE = (
    "body{font:15px/1.45 sans-serif;max-width:76em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:.6em 0}td,th{border:1px solid #ccc;padding:.15em .5em;text-align:left}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}svg{margin:.4em .8em .4em 0}code{background:#f2f2f2}"
)


def write(title: str, blocks: Sequence[Block], folder: Path) -> None:
    """report.md, its plots, and report.html in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for block in blocks:
        if isinstance(block, Plot):
            (folder / f"{block.name}.svg").write_text(block.svg, encoding="utf-8")
    text = f"# {title}\n\n{as_markdown(blocks)}\n"
    (folder / "report.md").write_text(text, encoding="utf-8")
    body = "\n".join([f"<h1>{escape(title)}</h1>", *map(_html, blocks)])
    (folder / "report.html").write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style>\n{body}\n</html>\n",
        encoding="utf-8",
    )


def as_markdown(blocks: Sequence[Block]) -> str:
    """The blocks, an empty line between them."""
    return "\n\n".join(map(_markdown, blocks))


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"## {block.text}"
    if isinstance(block, Text):
        return block.text
    if isinstance(block, Plot):
        return f"![{block.name}]({block.name}.svg)"
    return markdown(block.head, block.lines)


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h2>{escape(block.text)}</h2>"
    if isinstance(block, Text):
        return "<p>" + re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(block.text)) + "</p>"
    if isinstance(block, Plot):
        return block.svg
    head = "".join(f"<th>{escape(h)}</th>" for h in block.head)
    lines = "".join("<tr>" + "".join(map(_cell, line)) + "</tr>" for line in block.lines)
    return f"<table><tr>{head}</tr>{lines}</table>"


def _cell(value: object) -> str:
    text = str(value)
    kind = ' class="n"' if re.match(r"[-+]?\d", text) else ""
    return f"<td{kind}>{escape(text)}</td>"
