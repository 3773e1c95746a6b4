#!/usr/bin/env python3
"""Exported priors give in Python's diffusers what they give in `eclipse`.

    python -m venv venv && venv/bin/pip install -r tests/python/requirements.txt
    cargo build --release && venv/bin/python tests/python/parity.py [EXPORT ...]

Without arguments, one prior of each kind is trained for a few steps on the built-in world `emoji` and exported; with arguments, these folders of
`eclipse export` are compared. Inputs are seeded numpy normals with captions of several lengths. A prior with time is run by diffusers' own
`PriorTransformer`. One without time is run by `TimelessPrior` below: diffusers' class always has a time embedding, the ECLIPSE authors' copy of it
(eclipse-inference, src/priors/prior_transformer.py) has none. Prints the largest absolute difference; exit code 1 above 1e-4.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from diffusers import PriorTransformer
from diffusers.utils import logging
from safetensors.numpy import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4
N_CAPTIONS = 7
SPEC = f"""
clip = "{ROOT / 'datasets/emoji/clip'}"
[data]
n_pairs = 64
[train]
steps = 20
batch_size = 16
[eval]
n_prompts = 1
n_noise = 1
"""


class TimelessPrior(PriorTransformer):
    """diffusers' PriorTransformer without the time token: [text states][text embedding][noise][prd]. Not part of diffusers."""

    def forward(self, noise, z_y, tokens, mask):
        n_own = self.config.additional_embeddings
        x = torch.cat(
            [
                self.encoder_hidden_states_proj(tokens),
                self.embedding_proj(z_y)[:, None],
                self.proj_in(noise)[:, None],
                self.prd_embedding.expand(len(noise), -1, -1),
            ],
            dim=1,
        )
        x = x + self.positional_embedding
        bias = torch.nn.functional.pad((1 - mask) * -10000.0, (0, n_own), value=0.0)
        bias = bias[:, None, :] + self.causal_attention_mask
        bias = bias.repeat_interleave(self.config.num_attention_heads, dim=0)
        for block in self.transformer_blocks:
            x = block(x, attention_mask=bias)
        return self.proj_to_clip_embeddings(self.norm_out(x)[:, -1])


def load(folder, has_time):
    """The network, every tensor of its file in its place."""
    cls = PriorTransformer if has_time else TimelessPrior
    model, info = cls.from_pretrained(
        folder, output_loading_info=True, low_cpu_mem_usage=False
    )
    missing = [
        k for k in info["missing_keys"] if has_time or not k.startswith("time_embedding.")
    ]
    if missing or info["unexpected_keys"] or info["mismatched_keys"]:
        sys.exit(f"{folder}: diffusers does not take it as it is: {info}")
    return model.eval()


def compare(eclipse, export, desk):
    """Largest absolute difference between eclipse and diffusers on the prior of an export."""
    folder = export / "prior"
    config = json.loads((folder / "config.json").read_text())
    if "conditioning" in config:
        print(f"{export.name}: its `conditioning` is unknown to diffusers, so a difference is right")
    has_time = config["additional_embeddings"] == 4
    n_text, d = config["num_embeddings"], config["embedding_dim"]
    random = np.random.default_rng(0)

    def normal(*shape):
        return random.standard_normal(shape).astype(np.float32)

    inputs = {
        "noise": normal(N_CAPTIONS, d),
        "z_y": normal(N_CAPTIONS, d),
        "tokens": normal(N_CAPTIONS, n_text, d),
    }
    lengths = random.integers(2, n_text + 1, N_CAPTIONS)
    inputs["mask"] = (np.arange(n_text) < lengths[:, None]).astype(np.float32)
    if has_time:
        inputs["t"] = random.integers(0, 1000, N_CAPTIONS).astype(np.float32)
    save_file(inputs, desk / "inputs.safetensors")
    run(
        eclipse,
        *("dev", "forward", "--prior", folder),
        *("--inputs", desk / "inputs.safetensors", "--out", desk / "ours.safetensors"),
    )
    ours = load_file(desk / "ours.safetensors")["predicted"]

    model = load(folder, has_time)
    at = {name: torch.from_numpy(value) for name, value in inputs.items()}
    with torch.no_grad():
        if has_time:
            theirs = model(
                hidden_states=at["noise"],
                timestep=at["t"],
                proj_embedding=at["z_y"],
                encoder_hidden_states=at["tokens"],
                attention_mask=at["mask"].bool(),
            ).predicted_image_embedding
        else:
            theirs = model(at["noise"], at["z_y"], at["tokens"], at["mask"])
    theirs = theirs.numpy()
    return float(np.abs(ours - theirs).max()), float(np.abs(theirs).max()), type(model).__name__


def run(*command):
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)


def trained(eclipse, desk):
    """One freshly trained and exported prior of each kind."""
    (desk / "spec.toml").write_text(SPEC)
    for kind in ["eclipse", "projection", "diffusion"]:
        out, export = desk / kind, desk / f"{kind}-export"
        run(
            eclipse,
            *("train", "--config", desk / "spec.toml", "--out", out),
            *("--set", f"objective.kind={kind}"),
        )
        run(eclipse, "export", out, "--to", export)
        yield export


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("exports", nargs="*", type=pathlib.Path)
    parser.add_argument(
        "--eclipse", type=pathlib.Path, default=ROOT / "target/release/eclipse"
    )
    args = parser.parse_args()
    logging.set_verbosity_error()  # its own word on missing tensors; `load` looks for itself
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        desk = pathlib.Path(folder)
        for export in args.exports or trained(args.eclipse, desk):
            difference, largest, name = compare(args.eclipse, export.resolve(), desk)
            worst = max(worst, difference)
            print(
                f"{export.name}: {name}: max abs diff {difference:.2e} (values up to {largest:.2f})"
            )
    verdict = "equal" if worst <= TOLERANCE else "NOT equal"
    print(f"{verdict}: largest difference {worst:.2e}, allowed {TOLERANCE:.0e}")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
