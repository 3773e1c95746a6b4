"""Asciicasts as an SVG image that plays by itself: CSS animation, no script, so it works where a Markdown page shows images."""

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pyte

from terminal import END, HEIGHT, WIDTH

COLUMN, ROW, TOP, LEFT = 8.4, 18, 38, 14
W, H = round(WIDTH * COLUMN) + 2 * LEFT, HEIGHT * ROW + TOP + 12
COLOURS = {
    "default": "#e6edf3", "black": "#6e7681", "red": "#ff7b72", "green": "#3fb950", "brown": "#d29922", "blue": "#58a6ff",
    "magenta": "#bc8cff", "cyan": "#39c5cf", "white": "#e6edf3",
}
# Seconds of the film: a character that is typed, a running command at most, a frame of it, the end of a command.
TYPED, LONGEST, STEP, HOLD = 0.05, 14.0, 0.35, 2.5


@dataclass
class Frame:
    """What the terminal shows, for some seconds of the film, at a second of the real run."""

    lines: tuple
    seconds: float
    real: float


def line(screen: pyte.Screen, y: int) -> tuple:
    """A row as runs of text in one colour."""
    runs, row = [], screen.buffer[y]
    for x in range(WIDTH):
        cell = row[x]
        colour = COLOURS.get(cell.fg, f"#{cell.fg}")
        style = (colour, cell.bold)
        if runs and runs[-1][1] == style:
            runs[-1][2].append(cell.data)
        else:
            runs.append((x, style, [cell.data]))
    cut = [(x, style, "".join(text).rstrip()) for x, style, text in runs]
    return tuple(run for run in cut if run[2])


def frames(cast: Path) -> list[Frame]:
    """The frames of a cast; long waits are shortened, and each frame knows its real time."""
    _, *events = [json.loads(text) for text in cast.read_text(encoding="utf-8").splitlines()]
    screen = pyte.Screen(WIDTH, HEIGHT)
    stream = pyte.Stream(screen)
    # Stretches of typed text, of a running command, of a prompt.
    parts: list[tuple[str, list]] = []
    state = "ended"
    for at, kind, text in events:
        if kind != "o":
            continue
        if END.search(text):
            state = "ended"
        elif "\n" in text:
            state = "runs"
        elif state == "ended":
            state = "typed"
        if not parts or parts[-1][0] != state:
            parts.append((state, []))
        parts[-1][1].append((at, text))
    film: list[Frame] = []
    for n_part, (state, part) in enumerate(parts):
        began = part[0][0]
        end = parts[n_part + 1][1][0][0] if n_part + 1 < len(parts) else part[-1][0]
        length = min(max(end - began, STEP), LONGEST)
        steps = max(2, round(length / STEP)) if state == "runs" else len(part)
        seconds = {"runs": length / steps, "typed": TYPED, "ended": HOLD / steps}[state]
        left = list(part)
        for k in range(steps):
            if state != "runs" and not left:
                break
            until = began + (end - began) * (k + 1) / steps if state == "runs" else left[0][0]
            at = began
            while left and (left[0][0] <= until or k + 1 == steps):
                at, text = left.pop(0)
                stream.feed(text)
            film.append(Frame(tuple(line(screen, y) for y in range(HEIGHT)), seconds, max(at, until) if state == "runs" else at))
    merged: list[Frame] = []
    for frame in film:
        if merged and merged[-1].lines == frame.lines:
            merged[-1].seconds += frame.seconds
            merged[-1].real = frame.real
        else:
            merged.append(frame)
    return merged


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def svg(film: list[Frame], title: str) -> str:
    """The film; a single frame is a still image."""
    names: dict[tuple, str] = {}
    strip, keys, total, at = [], [], sum(frame.seconds for frame in film), 0.0
    for n, frame in enumerate(film):
        used = []
        for y, runs in enumerate(frame.lines):
            if runs:
                name = names.setdefault(runs, f"l{len(names)}")
                used.append(f'<use href="#{name}" y="{y * ROW}"/>')
        used.append(f'<text x="{W - LEFT}" y="-28" class="c">{clock(frame.real)}</text>')
        strip.append(f'<g transform="translate({n * W})">{"".join(used)}</g>')
        keys.append(f"{100 * at / total:.3f}%{{transform:translateX({-n * W}px)}}")
        at += frame.seconds
    keys.append(f"100%{{transform:translateX({-(len(film) - 1) * W}px)}}")
    defs = []
    for runs, name in names.items():
        texts = []
        for x, (colour, bold), text in runs:
            lead = len(text) - len(text.lstrip())
            text = text.strip()
            look = "" if colour == COLOURS["default"] else f"fill:{colour};"
            look += "font-weight:bold" if bold else ""
            look = look and f' style="{look}"'
            texts.append(
                f'<text x="{LEFT + (x + lead) * COLUMN:.1f}" textLength="{len(text) * COLUMN:.1f}" lengthAdjust="spacingAndGlyphs"{look}>'
                f"{escape(text)}</text>"
            )
        defs.append(f'<g id="{name}">{"".join(texts)}</g>')
    animation = f"@keyframes f{{{''.join(keys)}}}.f{{animation:f {total:.2f}s step-end infinite}}" if len(film) > 1 else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{W}" height="{H}" viewBox="0 0 {W} {H}" role="img" aria-label="{escape(title)}">'
        f"<style>text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:{COLOURS['default']};white-space:pre}}"
        f"text.c{{text-anchor:end;fill:#8b949e}}{animation}</style>"
        f'<rect width="{W}" height="{H}" rx="8" fill="#0d1117"/>'
        f'<text x="{LEFT}" y="24" style="fill:#8b949e">{escape(title)}</text><defs>{"".join(defs)}</defs>'
        f'<g transform="translate(0 {TOP + 14})"><g class="f">{"".join(strip)}</g></g></svg>'
    )
