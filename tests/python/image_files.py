"""Image files here and in Pillow: the same z_x, or both refuse.

Makes a few hundred files (JPEG baseline, progressive, with restart markers, grey, CMYK, with every EXIF orientation, cut or zeroed at many
places; PNG of every colour type and depth; WebP), lets Pillow decode each (`ImageOps.exif_transpose`, `convert("RGB")`), encodes both the files
and Pillow's pixels with `eclipse encode` and compares the embeddings.

    python3 tests/python/image_files.py [--eclipse target/release/eclipse] [--clip datasets/emoji/clip] [--keep DIR]

Exit code 0 when every file agrees. What Pillow reads in spite of damage (an end-of-image marker where half of the data should be, bytes cut out of
the middle) must be refused here.
"""

import argparse
import io
import json
import random
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from safetensors.numpy import load_file

# Another IDCT and upsampling may differ by a few grey levels in places.
COSINE = 0.9995
warnings.simplefilter("ignore")


def picture(seed, size=(96, 64), mode="RGB"):
    """Smooth shapes with some noise, another one for each seed."""
    rng = np.random.default_rng(seed)
    w, h = size
    y, x = np.mgrid[0:h, 0:w]
    planes = []
    for _ in range(3):
        a, b, c, d = rng.uniform(0.02, 0.12, 4)
        planes.append(128 + 100 * np.sin(a * x + b * y + c * 50) * np.cos(d * y + a * 30))
    pixels = np.stack(planes, -1) + rng.normal(0, 6, (h, w, 3))
    x0, y0 = rng.integers(0, w // 2), rng.integers(0, h // 2)
    pixels[y0 : y0 + h // 3, x0 : x0 + w // 3] = rng.integers(0, 256, 3)
    return Image.fromarray(pixels.clip(0, 255).astype("uint8")).convert(mode)


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(orientation, endian="<", kind=3, prefix=b"Exif\0\0"):
    """A TIFF structure with the orientation alone; `kind` is the entry's type."""
    value = struct.pack(endian + ("HH" if kind == 3 else "I"), *((orientation, 0) if kind == 3 else (orientation,)))
    head = b"II*\0" if endian == "<" else b"MM\0*"
    return prefix + head + struct.pack(endian + "IHHHI", 8, 1, 0x0112, kind, 1) + value + b"\0\0\0\0"


def png(width, height, depth, colour, rows, before=(), palette=None):
    """A PNG by hand, for what Pillow does not write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    extra = b"".join(chunk(*c) for c in before)
    table = chunk(b"PLTE", palette) if palette else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + table + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def valid_files():
    """Name, bytes."""
    seed = 0

    def next_picture(**options):
        nonlocal seed
        seed += 1
        return picture(seed, **options)

    for quality in (30, 75, 95):
        for progressive in (False, True):
            for sampling in ("4:4:4", "4:2:2", "4:2:0"):
                for size in ((96, 64), (97, 65), (33, 80)):
                    image = next_picture(size=size)
                    name = f"jpeg-{quality}-{'p' if progressive else 'b'}-{sampling.replace(':', '')}-{size[0]}.jpg"
                    yield name, saved(image, "JPEG", quality=quality, progressive=progressive, subsampling=sampling)
    for rows in (1, 2, 3):
        for progressive in (False, True):
            yield f"restart-rows-{rows}-{progressive}.jpg", saved(
                next_picture(size=(120, 90)), "JPEG", restart_marker_rows=rows, progressive=progressive
            )
    for blocks in (1, 2, 5, 7):
        for mode in ("RGB", "L"):
            yield f"restart-blocks-{blocks}-{mode}.jpg", saved(
                next_picture(size=(101, 77), mode=mode), "JPEG", restart_marker_blocks=blocks
            )
    for mode in ("L", "CMYK"):
        for progressive in (False, True):
            for quality in (60, 95):
                yield f"{mode}-{progressive}-{quality}.jpg", saved(
                    next_picture(mode=mode), "JPEG", progressive=progressive, quality=quality
                )
    yield "rgb-in-jpeg.jpg", saved(next_picture(), "JPEG", keep_rgb=True)
    for orientation in range(0, 10):
        for endian in "<>":
            data = exif(orientation, endian)
            for kind, extra in (("JPEG", {"quality": 90}), ("PNG", {}), ("WEBP", {"lossless": True})):
                raw = data if kind == "JPEG" else data[6:]
                name = f"exif-{orientation}-{'le' if endian == '<' else 'be'}.{kind.lower()[:4].replace('jpeg', 'jpg')}"
                yield name, saved(next_picture(), kind, exif=raw, **extra)
    yield "exif-long.jpg", saved(next_picture(), "JPEG", exif=exif(6, kind=4))
    yield "exif-twice.jpg", saved(next_picture(), "JPEG", exif=exif(6, prefix=b"Exif\0\0Exif\0\0"))
    yield "comment.jpg", saved(next_picture(), "JPEG", comment=b"x" * 3000)
    jpeg = saved(next_picture(), "JPEG")
    yield "trailing.jpg", jpeg + b"more bytes behind the end"
    jpeg = saved(next_picture(), "JPEG")
    yield "odd-app.jpg", jpeg[:2] + b"\xff\xe1\x00\x0cExif\0\0II*\0" + b"\xff\xe5\x00\x04zz" + jpeg[2:]
    jpeg = saved(next_picture(), "JPEG")
    yield "fill-bytes.jpg", jpeg[:2] + b"\xff\xff\xff" + jpeg[2:-2] + b"\xff\xff" + jpeg[-2:]
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        for size in ((64, 48), (65, 47)):
            image = next_picture(size=size)
            if mode == "I;16":
                deep = np.array(image.convert("L")).astype("uint16") * 3
                image = Image.fromarray(deep)
            elif mode == "RGBA":
                image.putalpha(next_picture(size=size, mode="L"))
            else:
                image = image.convert(mode)
            for bits in ({"bits": 2}, {"bits": 4}, {}) if mode == "P" else ({},):
                name = f"png-{mode.replace(';', '')}-{size[0]}{bits.get('bits', '')}.png"
                if mode == "P":
                    image = next_picture(size=size).quantize(2 ** bits.get("bits", 8))
                yield name, saved(image, "PNG", **bits)
    rng = random.Random(1)
    for colour, n in ((2, 3), (6, 4), (4, 2)):
        rows = [bytes(rng.randrange(256) for _ in range(2 * n * 40)) for _ in range(30)]
        yield f"png-16-{colour}.png", png(40, 30, 16, colour, rows)
    for depth in (1, 2, 4):
        rows = [bytes(rng.randrange(256) for _ in range((40 * depth + 7) // 8)) for _ in range(30)]
        yield f"png-grey-{depth}.png", png(40, 30, depth, 0, rows)
    rows = [bytes(rng.randrange(4) for _ in range(40)) for _ in range(30)]
    yield "png-palette-trns.png", png(40, 30, 8, 3, rows, [(b"tRNS", b"\0\x80\xff")], bytes(range(30, 42)))
    rows = [bytes(rng.randrange(256) for _ in range(120)) for _ in range(30)]
    yield "png-rgb-trns.png", png(40, 30, 8, 2, rows, [(b"tRNS", b"\0\1\0\2\0\3")])
    for options in ({"lossless": True}, {"quality": 80}, {"quality": 30}, {"quality": 90, "method": 0}):
        for mode in ("RGB", "RGBA"):
            image = next_picture(size=(81, 59))
            if mode == "RGBA":
                image.putalpha(next_picture(size=(81, 59), mode="L"))
            yield f"webp-{mode}-{'-'.join(str(v) for v in options.values())}.webp", saved(image, "WEBP", **options)


def damaged_files():
    """Name, bytes: cut off, or zeroed to the end, at many places."""
    sources = [
        ("b", saved(picture(901, size=(160, 120)), "JPEG", quality=85)),
        ("p", saved(picture(902, size=(160, 120)), "JPEG", quality=85, progressive=True)),
        ("r", saved(picture(903, size=(160, 120)), "JPEG", quality=85, restart_marker_rows=1)),
        ("g", saved(picture(904, size=(160, 120), mode="L"), "JPEG", quality=85)),
        ("c", saved(picture(905, size=(160, 120), mode="CMYK"), "JPEG", quality=85)),
    ]
    for name, data in sources:
        for percent in (1, 10, 25, 40, 50, 60, 75, 90, 97, 99):
            n = len(data) * percent // 100
            yield f"cut-{name}-{percent}.jpg", data[:n]
            yield f"zero-{name}-{percent}.jpg", data[:n] + bytes(len(data) - n)
        if name != "c":
            yield f"cut-{name}-end.jpg", data[:-1]
            yield f"cut-{name}-eoi.jpg", data[:-2]
    for name, kind, data in (
        ("png", "png", saved(picture(906, size=(160, 120)), "PNG")),
        ("webp", "webp", saved(picture(907, size=(160, 120)), "WEBP", quality=80)),
        ("webpl", "webp", saved(picture(908, size=(160, 120)), "WEBP", lossless=True)),
    ):
        for percent in (5, 25, 50, 75, 95):
            yield f"cut-{name}-{percent}.{kind}", data[: len(data) * percent // 100]


def spoiled_files():
    """Name, bytes: what Pillow reads in spite of the damage; a grey or shifted part is no picture, so these must be refused here."""
    data = saved(picture(905, size=(160, 120), mode="CMYK"), "JPEG", quality=85)
    yield "spoiled-cut-c-eoi.jpg", data[:-2]
    for name, options in (("l", {"lossless": True}), ("y", {"quality": 80})):
        data = saved(picture(912, size=(160, 120)), "WEBP", **options)
        yield f"spoiled-zero-{name}.webp", data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
    data = saved(picture(909, size=(160, 120)), "JPEG", quality=85)
    progressive = saved(picture(910, size=(160, 120)), "JPEG", quality=85, progressive=True)
    restart = saved(picture(911, size=(160, 120)), "JPEG", quality=85, restart_marker_rows=1)
    for name, data in (("b", data), ("p", progressive), ("r", restart)):
        for percent in (40, 60, 90):
            n = len(data) * percent // 100
            yield f"spoiled-cut-{name}-{percent}.jpg", data[:n] + b"\xff\xd9"
            yield f"spoiled-hole-{name}-{percent}.jpg", data[: n - 200] + data[n:]


def by_pillow(data):
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
        return ImageOps.exif_transpose(image).convert("RGB")
    except Exception:
        return None


def encode(eclipse, clip, pairs, out):
    """z_x by file name, and the reasons of rejects."""
    command = [eclipse, "encode", "--clip", clip, "--pairs", pairs, "--out", out, "--dtype", "f32"]
    subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = {}
    for shard in sorted((out / "shards").glob("*.safetensors")):
        tensors = load_file(shard)
        names, ends = tensors["picture_ids"].tobytes(), tensors["picture_id_offsets"]
        for i, row in enumerate(tensors["z_x"]):
            found[names[ends[i] : ends[i + 1]].decode()] = row
    lines = (out / "rejects.jsonl").read_text().splitlines()
    return found, {r["id"]: r["reason"] + ": " + r["detail"] for r in map(json.loads, lines)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--eclipse", default="target/release/eclipse")
    parser.add_argument("--clip", default="datasets/emoji/clip")
    parser.add_argument("--keep", type=Path, help="folder for the files, in place of a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = args.keep or Path(temporary)
        for name in ("files", "pillow"):
            (root / name).mkdir(parents=True, exist_ok=True)
        groups = {"valid": {}, "damaged": {}, "spoiled": {}}
        for group, files in (("valid", valid_files()), ("damaged", damaged_files()), ("spoiled", spoiled_files())):
            for name, data in files:
                assert not any(name in g for g in groups.values()), name
                groups[group][name] = by_pillow(data)
                (root / "files" / name).write_bytes(data)
                (root / "files" / name).with_suffix(".txt").write_text("a picture")
                if groups[group][name] is not None:
                    groups[group][name].save(root / "pillow" / (name + ".png"))
                    (root / "pillow" / (name + ".txt")).write_text("a picture")
        here, reasons = encode(args.eclipse, args.clip, root / "files", root / "store-files")
        there, _ = encode(args.eclipse, args.clip, root / "pillow", root / "store-pillow")
    wrong, worst, counts = [], 1.0, {}
    for group, images in groups.items():
        for name, image in images.items():
            z, reference = here.get(name), there.get(name + ".png")
            if group == "spoiled":
                verdict = "refused" if z is None else "READ"
            elif image is None or z is None:
                verdict = "both refuse" if (image is None) == (z is None) else "READ BY ONE ONLY"
            else:
                cosine = float(z @ reference / np.linalg.norm(z) / np.linalg.norm(reference))
                worst = min(worst, cosine)
                verdict = "agree" if cosine >= COSINE else f"DIFFER ({cosine:.5f})"
            if verdict.isupper() or verdict.startswith(("DIFFER", "READ")):
                wrong.append(f"{name}: {verdict}; here: {reasons.get(name, 'read')}; Pillow: {'refused' if image is None else 'read'}")
            counts[(group, verdict.split(" (")[0])] = counts.get((group, verdict.split(" (")[0]), 0) + 1
    for (group, verdict), n in sorted(counts.items()):
        print(f"{group}: {n} {verdict}")
    print(f"lowest cosine of the embeddings: {worst:.6f}")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
