"""Records the first ten minutes of a newcomer: a fresh clone, the quick start's commands, the pages in Chromium.

    python3 -m venv /tmp/recording && /tmp/recording/bin/pip install -r docs/recording/requirements.txt
    /tmp/recording/bin/python docs/recording/record.py

Writes docs/first-ten-minutes.md, from page.md here and the times of the run, and docs/images/first-*. Each part is kept in --casts and not recorded
again: a stopped call continues, and removing a file repeats its part. `asciinema play FILE.cast` shows a part at its real speed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

from PIL import Image

from film import clock, frames, svg
from terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]
PROMPT = "a red car on the left of a blue dog"
TITLE = "eclipse-t2i: the first ten minutes (idle time shortened; the clock shows the time of the part)"


def fetch(url: str, form=None) -> bytes:
    return urllib.request.urlopen(urllib.request.Request(url, data=form), timeout=600).read()


def screenshot(url: str, out: Path, width: int, height: int):
    """A page in Chromium, with few colours, so that the file is small."""
    browser = os.environ.get("ECLIPSE_CHROMIUM") or shutil.which("chromium") or "google-chrome"
    size = [f"--window-size={width},{height}", "--hide-scrollbars", "--virtual-time-budget=8000"]
    subprocess.run([browser, "--headless", "--no-sandbox", f"--screenshot={out}", *size, url], check=True, stderr=subprocess.DEVNULL)
    Image.open(out).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(out, optimize=True)


def draw_in_playground(terminal: Terminal, shots: Path):
    """Starts the playground, draws the prompt with the priors that the page ticks, and keeps the page."""
    url = terminal.start("eclipse serve", r"playground: (http://[0-9.:]+/)")[1]
    page = fetch(url).decode()
    priors = re.findall(r'name="prior" value="([^"]+)" checked', page)
    form = [("prompt", PROMPT), ("images", "4"), *(("prior", prior) for prior in priors)]
    answer = json.loads(fetch(f"{url}api/draw", urllib.parse.urlencode(form).encode()))
    if job := answer.get("job"):
        fetch(f"{url}api/jobs/{job}/events")  # ends when all is drawn
    screenshot(f"{url}?{answer['query']}", shots / "first-playground.png", 1100, 1250)
    terminal.interrupt()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/eclipse-t2i"), help="the clone; an existing one is used as it is")
    parser.add_argument("--programs", type=Path, help="folder of a built `eclipse`, instead of `cargo build --release` in the clone")
    parser.add_argument("--casts", type=Path, default=Path("/tmp/eclipse-t2i-casts"), help="folder of the recorded parts")
    parser.add_argument("--note", default="", help="a sentence for the page, such as what else the machine did")
    args = parser.parse_args()
    folder, casts, shots = args.folder, args.casts, ROOT / "docs" / "images"
    casts.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    if not args.programs:
        began = time.monotonic()
        subprocess.run(["cargo", "build", "--release"], cwd=folder, check=True)
        print(f"build: {clock(time.monotonic() - began)}")
    programs = args.programs or folder / "target" / "release"

    def part(name: str, record):
        cast = casts / f"{name}.cast"
        if not cast.exists():
            terminal = Terminal(folder, programs.resolve(), casts / "unfinished.cast")
            record(terminal)
            (casts / "unfinished.cast").rename(cast)
        return cast

    parts = {
        "sweep": part("1-sweep", lambda t: t.run("eclipse sweep objectives")),
        "draw": part("2-draw", lambda t: t.run(f'eclipse draw "{PROMPT}"')),
        "serve": part("3-serve", lambda t: draw_in_playground(t, shots)),
        "site": part("4-site", lambda t: t.run("eclipse report --site site")),
        "verify": part("5-verify", lambda t: t.run("eclipse verify tests/golden/karlo-micro-s0")),
    }
    Image.open(folder / "draw.png").convert("RGB").quantize(256).save(shots / "first-draw.png", optimize=True)
    screenshot(f"file://{folder}/runs/objectives/results/index.html", shots / "first-report.png", 1100, 1300)
    screenshot(f"file://{folder}/site/index.html", shots / "first-site.png", 1100, 900)
    films = {name: frames(cast) for name, cast in parts.items()}
    everything = [frame for film in films.values() for frame in film]
    (shots / "first-ten-minutes.svg").write_text(svg(everything, TITLE), encoding="utf-8")
    for name in ("sweep", "verify"):
        (shots / f"first-{name}.svg").write_text(svg(films[name][-1:], f"the end of `eclipse {name}`"), encoding="utf-8")
    template = Path(__file__).with_name("page.md").read_text(encoding="utf-8")
    times = {f"{name}_time": clock(film[-1].real) for name, film in films.items()}
    commit = subprocess.run(["git", "-C", str(folder), "show", "-s", "--format=%cs", "HEAD"], capture_output=True, text=True, check=True)
    page = template.format(**times, date=commit.stdout.strip(), cores=os.cpu_count(), note=args.note)
    (ROOT / "docs" / "first-ten-minutes.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
