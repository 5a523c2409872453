"""The words in a picture: labels beside the places they speak of, moved apart where they would hide one another.

Everything is measured in points (1/72 inch) from the lower left corner of the picture.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE_HEIGHT = 1.28  # of a line of text, as a multiple of its size


@dataclass(frozen=True)
class Label:
    """Lines of text beside a place of the axes, the first ``bold`` of them bold. ``x``, ``y``: data coordinates."""

    x: float
    y: float
    lines: tuple[str, ...]
    color: str
    size: float = 9.5
    bold: int = 1

    @property
    def height(self) -> float:
        """In points."""
        return LINE_HEIGHT * self.size * len(self.lines)


Box = tuple[float, float, float, float]  # x0, y0, x1, y1


def spread(ends: Sequence[float], heights: Sequence[float], bottom: float, top: float) -> list[float]:
    """Centres of labels that do not overlap, in the order of their ends and as near to them as can be.

    Labels that would overlap stand together around the mean of where they would be (least squares under an order).

    >>> spread([10, 10, 0], [2, 2, 2], 0, 20)
    [9.0, 11.0, 1.0]
    """
    if not ends:
        return []
    order = sorted(range(len(ends)), key=lambda i: ends[i])
    below = [0.0]  # how far the centre of each label lies over that of the lowest one, where all stand together
    for one, other in itertools.pairwise(order):
        below.append(below[-1] + (heights[one] + heights[other]) / 2)
    blocks: list[tuple[float, int]] = []  # mean place of the lowest label, and how many stand together
    for i, offset in zip(order, below, strict=True):
        mean, n = ends[i] - offset, 1
        while blocks and blocks[-1][0] > mean:
            other_mean, m = blocks.pop()
            mean, n = (mean * n + other_mean * m) / (n + m), n + m
        blocks.append((mean, n))
    lowest, highest = bottom + heights[order[0]] / 2, top - heights[order[-1]] / 2 - below[-1]
    starts = [max(min(mean, highest), min(lowest, highest)) for mean, n in blocks for _ in range(n)]
    places = [0.0] * len(ends)
    for i, start, offset in zip(order, starts, below, strict=True):
        places[i] = start + offset
    return places


class Labels:
    """The texts of one axes: each is put where it hides no other, and its place is remembered."""

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        self._figure: Any = axes.figure
        self.taken: list[Box] = []  # by lines
        self.written: list[Box] = []

    def point(self, x: float, y: float) -> tuple[float, float]:
        """A place of the data in points from the lower left corner of the picture."""
        at = self._axes.transData.transform((x, y))
        return float(at[0]), float(at[1])

    def keep_free(self, xs: Sequence[float], ys: Sequence[float], reach: float = 3) -> None:
        """No label may be put on this line."""
        points = [self.point(x, y) for x, y in zip(xs, ys, strict=True)]
        for (x0, y0), (x1, y1) in itertools.pairwise([points[0], *points]):
            steps = max(1, int(max(abs(x1 - x0), abs(y1 - y0)) / (2 * reach)))
            for x, y in ((x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps) for i in range(1, steps + 1)):
                self.taken.append((x - reach, y - reach, x + reach, y + reach))

    def column(
        self, labels: Sequence[Label], gap: float = 8, paper: str | None = None, top: float | None = None
    ) -> None:
        """Labels to the right of their places, one under the other, moved apart; on paper where there is a grid behind.

        None lies above ``top`` (data coordinates), where that is given.
        """
        ends = [self.point(label.x, label.y) for label in labels]
        box = self._axes.get_window_extent()
        highest = box.y1 + 8 if top is None else self.point(1, top)[1]
        heights = [label.height + 2 for label in labels]
        places = spread([y for _, y in ends], heights, box.y0 - 4, highest)
        for label, (x, _), y in zip(labels, ends, places, strict=True):
            self._write(label, x + gap, y, "left", paper)

    def margin(self, labels: Sequence[Label], gap: float = 8) -> None:
        """Labels in one column beside the axes, moved apart; a thin line leads to each from its place."""
        box = self._axes.get_window_extent()
        ends = [self.point(label.x, label.y) for label in labels]
        heights = [label.height + 2 for label in labels]
        places = spread([y for _, y in ends], heights, box.y0 - 4, box.y1 + 8)
        for label, (x, y), middle in zip(labels, ends, places, strict=True):
            if box.x1 - x > gap or abs(middle - y) > label.height:
                path = [(x + 4, y), (box.x1 + gap - 2, middle)]
                at = self._axes.transAxes.inverted().transform(path)
                self._axes.plot(at[:, 0], at[:, 1], color=label.color, linewidth=0.6, alpha=0.6, clip_on=False,
                                transform=self._axes.transAxes)  # fmt: skip
            self._write(label, box.x1 + gap, middle, "left")

    def near(self, label: Label, paper: str, gap: float = 8) -> None:
        """A label beside its place, or farther off with a line that leads there, where it hides the least."""
        x, y = self.point(label.x, label.y)
        width = self._width(label)
        steps = (0, 1, -1, 2, -2, 3, -3, 5, -5, 7, -7, 9, -9)
        tries = [(left, y + 0.6 * step * label.height) for step in steps for left in (x + gap, x - gap - width)]

        def worth(at: tuple[float, float]) -> float:
            box = (at[0], at[1] - label.height / 2, at[0] + width, at[1] + label.height / 2)
            lines = sum(_shared(box, other) for other in self.taken)
            return lines + 20 * self._words_hidden(box) + abs(at[1] - y)

        left, middle = min(tries, key=worth)
        if abs(middle - y) > label.height:
            ends = self._axes.transData.inverted().transform([(x, y), (left if left > x else left + width, middle)])
            self._axes.plot(ends[:, 0], ends[:, 1], color=label.color, linewidth=0.6, alpha=0.7, zorder=5)
        self._write(label, left, middle, "left", paper)

    def above_left(self, label: Label, gap: float = 6) -> None:
        """A label that ends at its place and lies above it."""
        x, y = self.point(label.x, label.y)
        self._write(label, x, y + gap + label.height / 2, "right")

    def bracket(self, x: float, low: float, high: float, color: str, gap: float = 7) -> None:
        """A bracket to the right of a place, from low to high."""
        (left, y0), (_, y1) = self.point(x, low), self.point(x, high)
        corners = [(left + gap - 3, y0 + 1), (left + gap, y0 + 1), (left + gap, y1 - 1), (left + gap - 3, y1 - 1)]
        at = self._axes.transAxes.inverted().transform(corners)
        self._axes.plot(at[:, 0], at[:, 1], color=color, linewidth=0.9, transform=self._axes.transAxes, clip_on=False)

    def _words_hidden(self, box: Box) -> float:
        """The area of other words that a box would cover, with what of it would lie outside the axes or the picture."""
        area, edge = self._axes.get_window_extent(), 72 * float(self._figure.get_size_inches()[0])
        outside: float = max(0.0, area.x0 - box[0]) + max(0.0, box[2] - edge)
        outside += max(0.0, area.y0 - box[1]) + max(0.0, box[3] - area.y1 - 8)
        covered = sum(_shared(box, other) for other in self.written)
        return float(outside * (box[3] - box[1]) + covered)

    def _width(self, label: Label) -> float:
        found = [self._text(label, i, 0, 0, "left") for i in range(len(label.lines))]
        width = max(float(text.get_window_extent().width) for text in found)
        for text in found:
            text.remove()
        return width

    def _write(self, label: Label, x: float, middle: float, side: str, ground: str | None = None) -> None:
        step = LINE_HEIGHT * label.size
        top = middle + label.height / 2 - step / 2
        for i in range(len(label.lines)):
            text = self._text(label, i, x, top - i * step, side)
            box = text.get_window_extent()
            if ground:
                text.set_bbox({"facecolor": ground, "edgecolor": "none", "pad": 1, "alpha": 0.75})
            self.written.append((float(box.x0), float(box.y0), float(box.x1), float(box.y1)))

    def _text(self, label: Label, i: int, x: float, y: float, side: str) -> Any:
        at = self._axes.transAxes.inverted().transform((x, y))
        return self._axes.text(
            at[0], at[1], label.lines[i], color=label.color, transform=self._axes.transAxes, ha=side, va="center",
            fontweight="bold" if i < label.bold else "normal", size=label.size if i < max(1, label.bold) else label.size - 0.7,
        )  # fmt: skip


def _shared(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0
