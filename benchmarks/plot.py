"""Cost and memory against the number of sessions, as an SVG of what a run wrote as JSON.

    python -m benchmarks.plot FILE.json FILE.svg

Written by hand: two sets of axes and a few lines are less than a library for them.
"""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path

_WIDTH, _HEIGHT, _LEFT, _TOP = 420, 240, 60, 40
_COLOURS = ("#1f77b4", "#d62728", "#7f7f7f")
_STYLE = "text{font:12px sans-serif;fill:#333}.grid{stroke:#ddd}path{fill:none;stroke-width:2}"

Lines = Mapping[str, Mapping[str, float]]


def panel(title: str, lines: Lines, *, at: int) -> str:
    """Draw lines from (sessions, value); both axes begin at what is smallest, the left at 0."""
    sizes = sorted({int(size) for line in lines.values() for size in line})
    top = _nice(max(value for line in lines.values() for value in line.values()))
    low, high = math.log10(sizes[0]), math.log10(sizes[-1])

    def x(size: int) -> float:
        return at + _LEFT + (math.log10(size) - low) / ((high - low) or 1) * _WIDTH

    def y(value: float) -> float:
        return _TOP + _HEIGHT * (1 - value / top)

    drawn = [f'<text x="{at + _LEFT}" y="20" font-weight="bold">{title}</text>']
    for step in range(5):
        value = top * step / 4
        drawn.append(
            f'<line class="grid" x1="{x(sizes[0])}" x2="{x(sizes[-1])}" '
            f'y1="{y(value)}" y2="{y(value)}"/>'
            f'<text x="{at + _LEFT - 8}" y="{y(value) + 4}" text-anchor="end">{value:g}</text>'
        )
    below = _TOP + _HEIGHT + 20
    drawn += [
        f'<text x="{x(size):.0f}" y="{below}" text-anchor="middle">{size:,}</text>'.replace(
            ",", " "
        )
        for size in sizes
    ]
    for number, (name, line) in enumerate(lines.items()):
        points = [(x(int(size)), y(value)) for size, value in line.items()]
        path = "L".join(f"{one:.1f} {other:.1f}" for one, other in sorted(points))
        colour = _COLOURS[number % len(_COLOURS)]
        below = _TOP + _HEIGHT + 42 + 18 * number
        drawn.append(
            f'<path d="M{path}" stroke="{colour}"/>'
            f'<path d="M{at + _LEFT} {below - 4}h20" stroke="{colour}"/>'
            f'<text x="{at + _LEFT + 28}" y="{below}">{name}</text>'
        )
    return "".join(drawn)


def _nice(value: float) -> float:
    """Return the next number that quarters well."""
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value)


def draw(found: Mapping[str, Lines]) -> str:
    """Return the picture of the memory store's figures."""
    cost: Lines = {"create": found["create_us"], "load": found["load_us"]}
    memory: Lines = {
        "fastapi-memsession": found["bytes"],
        "a plain dict of payloads": found["bytes_plain"],
    }
    width, height = 2 * (_LEFT + _WIDTH + 40), _TOP + _HEIGHT + 80
    panels = panel("microseconds a call", cost, at=0)
    panels += panel("bytes a session", memory, at=width // 2)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{panels}</svg>\n'
    )


def main() -> None:
    """Draw what is in one file into the other."""
    source, target = map(Path, sys.argv[1:])
    found = json.loads(source.read_text(encoding="utf-8"))["figures"]["memory_store"]
    target.write_text(draw(found), encoding="utf-8")


if __name__ == "__main__":
    main()
