"""Many small pictures with a caption each, in one PNG.

In: pictures and lines of text. Out: a file. Must not know: what they show.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from graspfleet.actor.video_writer import BAND, PLAIN, Picture

HEIGHT = 120
LINE_PX, TEXT_PX, MARGIN_PX = 14, 11, 4
COLORS = 64
"""Of the whole sheet; more than that is not to be seen, and costs bytes."""


@dataclass(frozen=True)
class Tile:
    """A picture, and the lines below it."""

    picture: Picture
    lines: Sequence[str]


def write(tiles: Sequence[Tile], path: Path, columns: int = 8) -> None:
    """Write the sheet, row by row; all tiles have pictures of one shape and the same number of lines."""
    columns = min(columns, len(tiles))
    height, own_width = tiles[0].picture.shape[:2]
    width = round(HEIGHT * own_width / height)
    high = HEIGHT + LINE_PX * len(tiles[0].lines) + MARGIN_PX
    sheet = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * high), BAND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT_PX)
    for number, tile in enumerate(tiles):
        x, y = number % columns * width, number // columns * high
        sheet.paste(Image.fromarray(tile.picture).resize((width, HEIGHT), Image.Resampling.LANCZOS), (x, y))
        for row, line in enumerate(tile.lines):
            middle = y + HEIGHT + row * LINE_PX + LINE_PX // 2
            draw.text((x + MARGIN_PX, middle), line, PLAIN, font, anchor="lm")
    sheet.quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)
