#!/usr/bin/env python3
"""The BLIP part of a complete evaluation fixture, cut to what is committed (tests/golden/blip-tiny-s0).

    make_blip_fixture.py FIXTURE OUT

Of the two word embeddings of 30,524 rows and the logits' bias only the rows that the goldens touch are kept, as NAME.rows and NAME.values
(`tests/it/blip.rs` fills the others with zeros), and no logits of all words. The manifest is called otherwise, so that `eclipse verify` passes
over a folder that lacks weights and images."""
import json, shutil, sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

fixture, out = map(Path, sys.argv[1:])
(out / "goldens").mkdir(parents=True, exist_ok=True)
(out / "blip_vqa").mkdir(exist_ok=True)
manifest = json.loads((fixture / "manifest.json").read_text())
manifest["goldens"] = {name: entry for name, entry in manifest["goldens"].items() if name.startswith("blip_")}
manifest["goldens"]["blip_vqa"]["tensors"].pop("out.first_token_logits_row0")
(out / "manifest.cut.json").write_text(json.dumps(manifest, indent=1) + "\n")
for name in ("blip_tokens", "blip_preprocess", "blip_pos_embed"):
    shutil.copyfile(fixture / f"goldens/{name}.safetensors", out / f"goldens/{name}.safetensors")
with safe_open(fixture / "goldens/blip_vqa.safetensors", "pt") as golden:
    info = golden.metadata()
    tensors = {name: golden.get_tensor(name) for name in golden.keys() if name != "out.first_token_logits_row0"}
save_file(tensors, out / "goldens/blip_vqa.safetensors", metadata=info)
ids = json.loads(info["info"])["ids"]
asked = sorted({*tensors["in.input_ids"].flatten().tolist(), ids["cls"], ids["sep"], ids["ENC"], ids["pad"]})
answered = [ids["no"], ids["yes"], ids["DEC"]]
for name in ("config.json", "preprocessor_config.json", "vocab.txt"):
    shutil.copyfile(fixture / "blip_vqa" / name, out / "blip_vqa" / name)
rows = {}
for name, tensor in load_file(fixture / "blip_vqa/model.safetensors").items():
    kept = {"text_encoder.embeddings.word_embeddings.weight": asked, "text_decoder.bert.embeddings.word_embeddings.weight": answered,
            "text_decoder.cls.predictions.bias": answered}.get(name)
    if kept is None:
        rows[name] = tensor
    else:
        rows[f"{name}.rows"], rows[f"{name}.values"] = torch.tensor(kept), tensor[kept].clone()
save_file(rows, out / "blip_vqa/rows.safetensors")
