#!/usr/bin/env python3
"""Packs a complete reference fixture, or the lists of `keys`, as the archive that is committed in tests/golden.

    pack_goldens.py FOLDER [--out tests/golden]

The same folder and the same sources give the same bytes (but for `first_legacy.pth`, into which torch writes addresses). What a committed archive lacks:

- goldens, parts and images in `LEFT_OUT`; the manifest lists the goldens that are there;
- rows of word embeddings that nobody asks for. Kept are the tokens and prompts of the goldens and of all words in the sources of tests and examples (for BLIP in
  its own test, `it/blip.rs`); the others are NaN, so that a test with a new word fails (`nan`, "not finite") and does not pass on other numbers. Pack again then;
- whole `torch.save` files: the first tensors of the network stand for them (this needs torch).
"""
import argparse, fnmatch, io, json, re, struct, zipfile
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = {
    "karlo-tiny-s0": """goldens/bicubic_upscale.* goldens/karlo_* goldens/pipeline_eclipse_karlo.* goldens/pipeline_karlo.* goldens/text_proj.*
        goldens/pipeline_karlo_image_variation.* goldens/pipeline_karlo_noguidance.* karlo/decoder* karlo/super_res_* karlo/text_proj/*""",
    "kandinsky22-tiny-s0": """goldens/k22_unet.* goldens/movq.* goldens/pipeline_eclipse_k22_decoder.* goldens/pipeline_k22_decoder* goldens/preprocess.*
        goldens/size_rounding.* goldens/tokenizer.json goldens/train.* images/* kandinsky22_decoder/*""",
    "eval-tiny-s0": """goldens/clip_fid.* goldens/clipscore.* goldens/pickscore.* goldens/fid_preprocess_large.* goldens/fid_preprocess_square512.*
        goldens/frechet_d256_* goldens/frechet_summary.json clip_b32/* clip_h/* tokenizer/* inception_narrow_keys.tsv""",
}
# Tensors of goldens that would make them ten times larger.
TENSORS_LEFT_OUT = {"goldens/blip_vqa.safetensors": ["out.first_token_logits_row0"], "goldens/fid_preprocess_wide.safetensors": ["out.full.clean_0_255"]}
# Tensors with a row a token; the biases and tables of BLIP's decoder are read at its answers only.
ROWS = ["text_model.embeddings.token_embedding.weight", "text_encoder.embeddings.word_embeddings.weight"]
ANSWER_ROWS = ["text_decoder.bert.embeddings.word_embeddings.weight", "text_decoder.cls.predictions.bias"]


def read(data):
    """Header and bytes of a safetensors file."""
    n = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + n]), data[8 + n :]


def write(header, tensors):
    """A safetensors file of `tensors`, in their order in `header`."""
    entries, body = {}, b""
    for name, entry in header.items():
        if name == "__metadata__":
            entries[name] = entry
        elif name in tensors:
            entries[name] = {**entry, "data_offsets": [len(body), len(body) + len(tensors[name])]}
            body += tensors[name]
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def tensors_of(header, body):
    return {name: body[slice(*entry["data_offsets"])] for name, entry in header.items() if name != "__metadata__"}


def clip_pieces(folder, words):
    """Tokens of `words` in CLIP's vocabulary, by its merges."""
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf8"))
    merges = (folder / "merges.txt").read_text(encoding="utf8").split("\n")[1:]
    ranks = {tuple(line.split()): rank for rank, line in enumerate(merges) if line}

    @lru_cache(None)
    def pieces(word):
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            rank, at = min((ranks.get(pair, 1e9), i) for i, pair in enumerate(zip(parts, parts[1:])))
            if rank == 1e9:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return parts

    # Bytes alone and at the end of a word: what digits and signs become.
    return {*range(512), 49406, 49407, *(vocabulary[piece] for word in words for piece in pieces(word))}


def bert_pieces(path, words):
    """Tokens of `words` in a WordPiece vocabulary."""
    vocabulary = {word: i for i, word in enumerate(path.read_text(encoding="utf8").split("\n")) if word}
    kept = {i for word, i in vocabulary.items() if len(word.removeprefix("##")) == 1 or word.startswith("[")}
    for word in words:
        at = 0
        while at < len(word):
            mark = "##" if at else ""
            end = next((e for e in range(len(word), at, -1) if mark + word[at:e] in vocabulary), None)
            if end is None:
                break
            kept.add(vocabulary[mark + word[at:end]])
            at = end
    return kept


def golden_texts(fixture):
    """Every token in a golden's `input_ids`, and every word of its description, which has its prompts."""
    found, words = set(), set()
    for path in (fixture / "goldens").glob("*.safetensors"):
        header, body = read(path.read_bytes())
        for name, entry in header.items():
            if "input_ids" in name:
                data = body[slice(*entry["data_offsets"])]
                found.update(struct.unpack(f"<{len(data) // 8}q", data))
        words |= words_in(json.dumps(header.get("__metadata__", {})))
    return found, words


def words_in(text):
    return {*re.findall("[a-z]+", text.lower())}


def words_of(*globs):
    """Words of the sources."""
    return {word for glob in globs for path in ROOT.glob(glob) for word in words_in(path.read_text(encoding="utf8"))}


def cut_rows(data, kept, answers):
    """The weights with NaN in all rows but `kept` (or `answers`)."""
    header, body = read(data)
    tensors = tensors_of(header, body)
    for name in {*ROWS, *ANSWER_ROWS} & {*tensors}:
        rows, dtype = header[name]["shape"][0], header[name]["dtype"]
        assert dtype == "F32", f"{name}: expected F32, found {dtype}"
        size = len(tensors[name]) // rows
        nan = b"\x00\x00\xc0\x7f" * (size // 4)
        keep = answers if name in ANSWER_ROWS else kept
        tensors[name] = b"".join(tensors[name][i * size : (i + 1) * size] if i in keep else nan for i in range(rows))
    return write(header, tensors)


def first_tensors(data, legacy):
    """A file of `torch.save` with the tensors of `data` up to 64 kB."""
    import torch

    whole, part, size = torch.load(io.BytesIO(data), weights_only=True), {}, 0
    for name, tensor in whole.items():
        size += tensor.numel() * tensor.element_size()
        if size > 1 << 16:
            break
        part[name] = tensor.clone()
    out = io.BytesIO()
    torch.save(part, out, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "tests/golden")
    args = parser.parse_args()
    folder, name = args.folder, args.folder.resolve().name
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if "manifest.json" in files:
        files = reduced(folder, name, files)
    with zipfile.ZipFile(args.out / f"{name}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for at, data in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{name}/{at}", (1980, 1, 1, 0, 0, 0))
            entry.external_attr, entry.compress_type = 0o100644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, data, compresslevel=9)


def reduced(fixture, name, files):
    """The files of a fixture that are committed."""
    left_out = LEFT_OUT[name].split()
    files = {at: data for at, data in files.items() if not any(fnmatch.fnmatch(at, pattern) for pattern in left_out)}
    manifest = json.loads(files["manifest.json"])
    there = {Path(at).stem for at in files if at.startswith("goldens/")}
    manifest["goldens"] = {golden: entry for golden, entry in manifest["goldens"].items() if golden in there}

    tokens, words = golden_texts(fixture)
    words |= words_of("tests/**/*.rs", "examples/*.rs")
    for at, data in files.items():
        folder = fixture / Path(at).parent
        if at in TENSORS_LEFT_OUT:
            header, body = read(data)
            tensors = tensors_of(header, body)
            for tensor in TENSORS_LEFT_OUT[at]:
                del tensors[tensor]
                manifest["goldens"][Path(at).stem].get("tensors", {}).pop(tensor, None)
            files[at] = write(header, tensors)
        elif at.endswith("text_encoder/model.safetensors"):
            files[at] = cut_rows(data, tokens | clip_pieces(folder.parent / "tokenizer", words), set())
        elif at == "blip_vqa/model.safetensors":
            ids = json.loads(read(files["goldens/blip_vqa.safetensors"])[0]["__metadata__"]["info"])["ids"]
            kept = tokens | bert_pieces(folder / "vocab.txt", words_of("tests/it/blip.rs")) | {*ids.values()}
            files[at] = cut_rows(data, kept, {*ids.values()})
        elif at.endswith(".pth"):
            files[at] = first_tensors(data, "legacy" in at)
    files["manifest.json"] = (json.dumps(manifest, indent=1) + "\n").encode()
    return {at.replace("inception_narrow/model_", "torch_files/first_"): data for at, data in files.items()}


main()
