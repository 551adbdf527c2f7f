"""The study's figure as SVG: held-out loss by steps, by FLOPs and by hours, each arm's mean and range over its seeds.

In: the runs of scripts/study_report.py `grouped`. Out: the text of an SVG, 900 wide. Standard library only.
"""

import math
from statistics import mean
from xml.sax.saxutils import escape

from study_report import MAIN, name

COLORS = ["#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999"]
INK, GREY, FAINT = "#262626", "#969696", "#E4E4E4"
WIDTH, HEIGHT = 900, 430
LEFT, RIGHT, TOP, BOTTOM, BETWEEN = 58, 14, 78, 78, 22
# Of the range of losses, what is above the lowest by more is cut off: arms differ by hundredths at the end.
SPAN = 1.6
PANELS = [("step", 1e-3, "thousand steps"), ("train/flops", 1e-12, "TFLOP"), ("train/hours", 1.0, "hours of training steps")]


def series(runs, tag, scale):
    """Points (x, mean, lowest, highest) of the evaluations that all runs have; x is a mean too."""
    curves = [{point["step"]: point for point in run["curve"] if "eval/loss" in point and tag in point} for run in runs]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    found = []
    for step in steps:
        losses = [curve[step]["eval/loss"] for curve in curves]
        found.append((scale * mean(curve[step][tag] for curve in curves), mean(losses), min(losses), max(losses)))
    return found


def ticks(low, high, count):
    """About so many round numbers from `low` to `high`."""
    rough = (high - low) / count
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [step * at for at in range(first, math.floor(high / step + 1e-9) + 1)]


def text(x, y, words, size=13, anchor="middle", color=INK, more=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{color}"{more}>{escape(words)}</text>')


def line(points, color, width=2.0):
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline fill="none" stroke="{color}" stroke-width="{width}" stroke-linejoin="round" points="{joined}"/>'


def figure(groups):
    """The figure of the main arms; a panel without data of its axis is left empty."""
    arms = {arm: list(runs.values()) for arm, runs in groups.items() if arm[0] in MAIN} or \
        {arm: list(runs.values()) for arm, runs in groups.items()}
    color = dict(zip(arms, COLORS))
    panels = [({arm: series(runs, tag, scale) for arm, runs in arms.items()}, label) for tag, scale, label in PANELS]
    every = [point for found, _ in panels for points in found.values() for point in points]
    low, high = min(point[2] for point in every), max(point[3] for point in every)
    bottom, top = math.floor(10 * low) / 10, min(math.ceil(10 * high) / 10, math.floor(10 * low) / 10 + SPAN)
    width = (WIDTH - LEFT - RIGHT - 2 * BETWEEN) / 3
    y_of = lambda loss: TOP + (HEIGHT - TOP - BOTTOM) * (top - loss) / (top - bottom)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
             'font-family="sans-serif">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#FFFFFF"/>',
             text(18, 26, "Held-out loss (nats) over seeds: mean, and lowest to highest", 16, "start")]
    x = 18
    for arm, runs in arms.items():
        parts += [line([(x, 49), (x + 26, 49)], color[arm], 3), text(x + 32, 53.5, f"{name(arm)} (n = {len(runs)})", 13, "start")]
        x += 60 + 6.9 * len(f"{name(arm)} (n = {len(runs)})")
    for number, (found, label) in enumerate(panels):
        left = LEFT + number * (width + BETWEEN)
        parts += panel(found, label, left, width, (bottom, top), y_of, color, number)
    parts.append(text(18, HEIGHT - 14, "Hours depend on what else the machine did. Curves are cut off above the frame; no run is left out.",
                      12, "start", "#595959"))
    return "\n".join(parts) + "\n</svg>\n"


def panel(found, label, left, width, losses, y_of, color, number):
    bottom, top = losses
    right, floor = left + width, y_of(bottom)
    longest = max((points[-1][0] for points in found.values() if points), default=0.0)
    parts = [f'<clipPath id="panel{number}"><rect x="{left:.1f}" y="{y_of(top):.1f}" width="{width:.1f}" '
             f'height="{floor - y_of(top):.1f}"/></clipPath>']
    for loss in ticks(bottom, top, 7):
        parts.append(line([(left, y_of(loss)), (right, y_of(loss))], FAINT, 1))
        if number == 0:
            parts.append(text(left - 8, y_of(loss) + 4.5, f"{loss:.1f}", 12, "end"))
    if longest > 0.0:
        x_of = lambda value: left + width * value / longest
        for at in ticks(0.0, longest, 4):
            parts.append(line([(x_of(at), floor), (x_of(at), floor + 5)], GREY, 1))
            parts.append(text(min(x_of(at), right - 8), floor + 19, f"{at:g}" if at else "0", 12))
        inside = []
        for arm, points in found.items():
            band = [(x_of(point[0]), y_of(point[3])) for point in points] + [(x_of(point[0]), y_of(point[2])) for point in points[::-1]]
            joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in band)
            inside.append(f'<polygon fill="{color[arm]}" fill-opacity="0.18" points="{joined}"/>')
        inside += [line([(x_of(point[0]), y_of(point[1])) for point in points], color[arm]) for arm, points in found.items()]
        parts.append(f'<g clip-path="url(#panel{number})">' + "\n".join(inside) + "</g>")
    parts += [line([(left, y_of(top)), (left, floor), (right, floor)], GREY, 1), text(left + width / 2, floor + 40, label)]
    return parts
