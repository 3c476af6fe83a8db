"""The loss curve as a PNG, drawn with Pillow. It takes some 20 ms, so never on the event loop."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from core.corpora.curves import Curve

# Everything is drawn twice as large and then shrunk, which smooths the lines.
_SCALE = 2
_WIDTH, _HEIGHT = 800, 450
# A phone shows the picture some 330 pixels wide: letters and lines must bear that.
_LETTERS, _LINE = 30, 6
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 24, 64, 88
_BACKGROUND, _GRID, _INK = "#1f2430", "#39404f", "#d5d9e2"
TRAIN, VALIDATION = "#6c7a99", "#3ecf7a"
_TICKS = 4
_ROOM = 0.08

Point = tuple[float, float]


@dataclass(frozen=True)
class CurveLabels:
    """The words in the picture, and the mark between whole numbers and fractions.

    Pillow's own font, which needs no file on the host, has the letters of ASCII alone.
    """

    step: str
    loss: str
    train: str
    validation: str
    decimal_mark: str = "."
    best: str = "best"
    pruned: str = "given up"
    trial: str = "trial"


@dataclass(frozen=True)
class _Frame:
    """Where numbers lie in the picture."""

    low: float
    high: float
    last_step: float

    def at(self, step: float, loss: float) -> Point:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / self.last_step
        share = (loss - self.low) / (self.high - self.low)
        y = _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share
        return x * _SCALE, y * _SCALE


def draw_curve(curve: Curve, labels: CurveLabels, steps: int) -> bytes:
    """The picture of a run.

    Args:
        curve: with at least one point.
        labels: in the language of the readers.
        steps: of the whole run, so that the picture shows how much is left.

    Returns:
        A PNG, 800 by 450 pixels.
    """
    canvas = Canvas((*curve.train, *curve.validation), labels, steps)
    canvas.draw_line(curve.train, TRAIN, width=_LINE - 2)
    canvas.draw_line(curve.validation, VALIDATION, width=_LINE)
    for step, loss in curve.validation:
        canvas.draw_dot(step, loss, 13 if step == curve.best_step else 6)
    canvas.draw_legend(((labels.validation, VALIDATION), (labels.train, TRAIN)))
    return canvas.to_png()


class Canvas:
    """A picture with a grid of steps and losses, on which lines are drawn.

    Args:
        points: all that will be drawn, at least one.
        labels: in the language of the readers.
        steps: of the whole run.
    """

    def __init__(
        self, points: Sequence[tuple[int, float]], labels: CurveLabels, steps: int
    ) -> None:
        self._image = Image.new("RGB", (_WIDTH * _SCALE, _HEIGHT * _SCALE), _BACKGROUND)
        self._draw = ImageDraw.Draw(self._image)
        self._font = ImageFont.load_default(_LETTERS * _SCALE)
        self._frame = _make_frame(points, steps)
        _draw_grid(self._draw, self._font, self._frame, labels)

    def draw_line(self, points: Sequence[tuple[int, float]], colour: str, width: int) -> None:
        """A line through points; one alone is none."""
        if len(points) > 1:
            line = [self._frame.at(step, loss) for step, loss in points]
            self._draw.line(line, fill=colour, width=width * _SCALE, joint="curve")

    def draw_dot(self, step: int, loss: float, radius: int, colour: str = VALIDATION) -> None:
        """A dot."""
        (x, y), reach = self._frame.at(step, loss), radius * _SCALE
        self._draw.ellipse([x - reach, y - reach, x + reach, y + reach], fill=colour)

    def draw_legend(self, entries: Sequence[tuple[str, str]]) -> None:
        """Words and their colours, from the right."""
        right, y = float(_WIDTH - _RIGHT) * _SCALE, _TOP // 2 * _SCALE
        for word, colour in entries:
            self._draw.text((right, y), word, fill=_INK, font=self._font, anchor="rm")
            right -= self._draw.textlength(word, font=self._font) + 10 * _SCALE
            start = (right - 34 * _SCALE, y)
            self._draw.line([start, (right, y)], fill=colour, width=_LINE * _SCALE)
            right -= 60 * _SCALE

    def to_png(self) -> bytes:
        """What was drawn: a PNG, 800 by 450 pixels."""
        small = self._image.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        small.save(out, "PNG", optimize=True)
        return out.getvalue()


def _make_frame(points: Sequence[tuple[int, float]], steps: int) -> _Frame:
    losses = [loss for _, loss in points]
    low, high = min(losses), max(losses)
    room = max((high - low) * _ROOM, 0.05)
    return _Frame(max(0.0, low - room), high + room, max(1, steps, *(s for s, _ in points)))


def _draw_grid(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    frame: _Frame,
    labels: CurveLabels,
) -> None:
    for loss in nice_ticks(frame.low, frame.high):
        start, end = frame.at(0, loss), frame.at(frame.last_step, loss)
        draw.line([start, end], fill=_GRID, width=2 * _SCALE)
        text = f"{loss:.3g}".replace(".", labels.decimal_mark)
        draw.text((start[0] - 12 * _SCALE, start[1]), text, fill=_INK, font=font, anchor="rm")
    for step in nice_ticks(0, frame.last_step):
        if step != int(step):
            continue
        x, y = frame.at(step, frame.low)
        # The last one, at the edge, stays within it.
        anchor = "rt" if step > 0.95 * frame.last_step else "mt"
        draw.text((x, y + 12 * _SCALE), f"{step:.0f}", fill=_INK, font=font, anchor=anchor)
    middle = (_LEFT + _WIDTH - _RIGHT) / 2 * _SCALE
    bottom = (_HEIGHT - 8) * _SCALE
    draw.text((middle, bottom), labels.step, fill=_INK, font=font, anchor="mb")
    draw.text((12 * _SCALE, _TOP // 2 * _SCALE), labels.loss, fill=_INK, font=font, anchor="lm")


def nice_ticks(low: float, high: float) -> Iterator[float]:
    """Round numbers between two others: some four, 1, 2, 2.5 or 5 times a power of ten apart."""
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    distance = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw)
    tick = math.ceil(low / distance) * distance
    while tick <= high + distance * 1e-9:
        yield round(tick, 10)
        tick += distance
