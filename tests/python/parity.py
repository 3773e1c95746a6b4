#!/usr/bin/env python3
"""Exported priors give in Python's diffusers what they give in `eclipse`.

    python -m venv venv && venv/bin/pip install -r tests/python/requirements.txt
    cargo build --release && venv/bin/python tests/python/parity.py [EXPORT ...]

Without arguments, a prior of each kind and recipe is trained for a few steps on the built-in world `emoji`, one more on a store of a miniature
CLIP's embeddings and exported with decoders of Kandinsky 2.2 and Karlo of random weights; with arguments, these folders of `eclipse export` are compared. Of each:

- where it has a decoder, the lines of Python on its model card are run as they stand, in its folder, and the image is compared with the one that `eclipse generate` draws from the
  same prompt and noise: at most LEVELS of 255 apart;
- the network alone is run on seeded numpy normals with captions of several lengths: at most TOLERANCE apart.

Exit code 1 where one is not.
"""
import argparse
import atexit
import importlib.util
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from functools import lru_cache

import numpy as np
import PIL.Image
import torch
from diffusers import (
    DDPMScheduler,
    KandinskyV22Pipeline,
    PriorTransformer,
    UnCLIPImageVariationPipeline,
    UnCLIPScheduler,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from diffusers.utils import logging
from safetensors.numpy import load_file, save_file
from transformers import (
    CLIPImageProcessor,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4
N_CAPTIONS = 7
SPEC = f"""
clip = "{ROOT / 'datasets/emoji/clip'}"
decoder = "{ROOT / 'datasets/emoji/decoder'}"
[data]
n_pairs = 64
[train]
steps = 20
batch_size = 16
[eval]
n_prompts = 1
n_noise = 1
n_pictures = 0
"""


# Kinds and recipes: name, settings of the run, options of `eclipse generate` that sample as the run does.
RECIPES = [
    ("eclipse", ["objective.kind=eclipse"], []),
    ("projection", ["objective.kind=projection"], []),
    ("hidden", ["model.conditioning=hidden"], []),
    ("pooled", ["model.conditioning=pooled"], []),
    ("diffusion", ["objective.kind=diffusion"], []),
    ("diffusion_eta", ["objective.kind=diffusion", "objective.sampler.eta=0.5"], ["--eta", "0.5"]),
    (
        "ddim",
        [
            "objective.kind=diffusion",
            "objective.sampler.scheduler=ddim",
            "objective.sampler.eta=0.5",
            "model.conditioning=pooled",
        ],
        ["--eta", "0.5"],
    ),
    (
        "unclip",
        [
            "objective.kind=diffusion",
            "objective.beta_schedule=squaredcos_cap_v2",
            "objective.sampler.scheduler=unclip",
            "objective.sampler.steps=10",
            "objective.sampler.guidance=2.0",
        ],
        ["--prior-steps", "10", "--prior-guidance", "2"],
    ),
    (
        "unclip_eta",
        [
            "objective.kind=diffusion",
            "objective.beta_schedule=squaredcos_cap_v2",
            "objective.sampler.scheduler=unclip",
            "objective.sampler.eta=0.5",
        ],
        ["--eta", "0.5"],
    ),
    ("flow", ["objective.kind=flow"], []),
    ("flow_sample", ["objective.kind=flow", "objective.prediction=sample"], []),
]
LEVELS = 2
# Of the miniature CLIP's embeddings.
WIDTH = 16


def load(folder):
    """The network of an export, with the class that its `model_index.json` names; every tensor of its file in its place."""
    module, name = json.loads((folder / "model_index.json").read_text())["prior"]
    if module == "diffusers":
        cls = PriorTransformer
    else:
        spec = importlib.util.spec_from_file_location(module, folder / "prior" / f"{module}.py")
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        cls = getattr(loaded, name)
    model, info = cls.from_pretrained(
        folder / "prior", output_loading_info=True, low_cpu_mem_usage=False
    )
    if info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"]:
        sys.exit(f"{folder}: diffusers does not take it as it is: {info}")
    return model.eval()


# What runs before a card's lines: progress off, and every draw of noise recorded from the first call of a pipeline on.
RECORDER = """
import os, torch
os.environ["HF_HUB_OFFLINE"] = "1"
from diffusers import DiffusionPipeline
drawn, randn = [], torch.randn
def record(*args, **kwargs):
    drawn.append(randn(*args, **kwargs))
    return drawn[-1]
loaded = DiffusionPipeline.from_pretrained.__func__
def load(cls, *args, **kwargs):
    torch.randn = randn
    pipeline = loaded(cls, *args, **kwargs)
    torch.randn = record
    return pipeline
DiffusionPipeline.from_pretrained = classmethod(load)
import functools
from diffusers import KandinskyV22Pipeline
small = dict(height=64, width=64, num_inference_steps=10)  # in the place of 512 pixels and 100 steps
KandinskyV22Pipeline.__call__ = functools.partialmethod(KandinskyV22Pipeline.__call__, **small)
torch.manual_seed(0)
"""
SAVER = """
from safetensors.torch import save_file
save_file({f"noise.{i:03}": x.contiguous() for i, x in enumerate(drawn)}, "noise.safetensors")
save_file({"z_x_hat": embeddings.image_embeds.contiguous()}, "embeddings.safetensors")
"""


def whole_pipeline(eclipse, export, options, desk):
    """Largest difference, in levels of 255, between the image of the card's lines and that of `eclipse generate`."""
    card = (export / "README.md").read_text()
    lines = re.search(r"```python\n(.*?)```", card, re.S).group(1)
    assert 3 <= len(lines.strip().splitlines()) <= 5, lines
    work = desk / f"{export.name}-lines"
    shutil.copytree(export, work)
    script = work / "lines.py"
    script.write_text(RECORDER + lines + SAVER)
    done = subprocess.run([sys.executable, script.name], cwd=work, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{export}: the card's lines fail:\n{lines}{done.stderr}")
    prompt = re.search(r'prior\("([^"]*)"', lines).group(1)
    named = re.search(r'decoder = .*from_pretrained\("(/[^"]*)"', lines)
    parts = ["--pipeline", named.group(1), "--prior", export] if named else ["--pipeline", export]
    drawn = ["--prompt", prompt]
    if "image_embeddings=" in lines:
        # Karlo's image variation reads no prompt: the embedding goes into its decoder alone.
        parts, drawn = parts[:2], ["--embeddings", work / "embeddings.safetensors"]
        # The prior's own draw comes first.
        noise = [x for _, x in sorted(load_file(work / "noise.safetensors").items())][1:]
        save_file({f"noise.{i:03}": x for i, x in enumerate(noise)}, work / "noise.safetensors")
    run(
        eclipse,
        *("generate", *parts, *drawn, "--latents", work / "noise.safetensors"),
        *("--out", work / "ours", *options),
    )
    (ours,) = (work / "ours").glob("*.png")
    ours, theirs = (
        np.asarray(PIL.Image.open(path).convert("RGB")).astype(int)
        for path in (ours, work / "image.png")
    )
    if ours.shape != theirs.shape or np.ptp(theirs) == 0:
        sys.exit(f"{export}: images of {ours.shape} and {theirs.shape}, or all of one level")
    return int(np.abs(ours - theirs).max())


def compare(eclipse, export, desk):
    """Largest absolute difference between eclipse and diffusers on the prior of an export."""
    folder = export / "prior"
    config = json.loads((folder / "config.json").read_text())
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

    model = load(export)
    at = {name: torch.from_numpy(value) for name, value in inputs.items()}
    with torch.no_grad():
        theirs = model(
            hidden_states=at["noise"],
            timestep=at.get("t"),
            proj_embedding=at["z_y"],
            encoder_hidden_states=at["tokens"],
            attention_mask=at["mask"].bool(),
        ).predicted_image_embedding
    theirs = theirs.numpy()
    return float(np.abs(ours - theirs).max()), float(np.abs(theirs).max()), type(model).__name__


def run(*command):
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)


@lru_cache(None)
def unpacked(name):
    """A fixture that is committed as an archive, in a folder that lasts as long as this process."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    zipfile.ZipFile(ROOT / f"tests/golden/{name}.zip").extractall(folder.name)
    return pathlib.Path(folder.name) / name


def kandinsky(folder):
    """A Kandinsky 2.2 decoder with random weights, of the width of the miniature CLIP."""
    micro = ROOT / "tests/golden/kandinsky22-micro-s0/kandinsky22_decoder"
    torch.manual_seed(0)
    config = UNet2DConditionModel.load_config(micro / "unet")
    unet = UNet2DConditionModel.from_config({**config, "encoder_hid_dim": WIDTH})
    KandinskyV22Pipeline(
        unet=unet,
        scheduler=DDPMScheduler.from_pretrained(micro / "scheduler"),
        movq=VQModel.from_pretrained(micro / "movq"),
    ).save_pretrained(folder)
    return folder


def karlo(folder):
    """Karlo's image variation with random weights, of the width of the miniature CLIP."""
    golden = ROOT / "tests/golden"
    micro, tiny = golden / "karlo-micro-s0/karlo", unpacked("karlo-tiny-s0")
    torch.manual_seed(0)
    config = UnCLIPTextProjModel.load_config(micro / "text_proj")
    text_proj = UnCLIPTextProjModel.from_config({**config, "clip_embeddings_dim": WIDTH})
    UnCLIPImageVariationPipeline(
        decoder=UNet2DConditionModel.from_pretrained(micro / "decoder"),
        text_proj=text_proj,
        super_res_first=UNet2DModel.from_pretrained(micro / "super_res_first"),
        super_res_last=UNet2DModel.from_pretrained(micro / "super_res_last"),
        decoder_scheduler=UnCLIPScheduler.from_pretrained(micro / "decoder_scheduler"),
        super_res_scheduler=UnCLIPScheduler.from_pretrained(micro / "super_res_scheduler"),
        text_encoder=CLIPTextModelWithProjection.from_pretrained(tiny / "karlo/text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(tiny / "karlo/tokenizer"),
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(
            tiny / "karlo_image_variations/image_encoder"
        ),
        feature_extractor=CLIPImageProcessor.from_pretrained(
            tiny / "karlo_image_variations/feature_extractor"
        ),
    ).save_pretrained(folder)
    # As Karlo's own folder names it.
    index = json.loads((folder / "model_index.json").read_text())
    index["text_proj"][0] = "unclip"
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def trained(eclipse, desk):
    """Freshly trained and exported priors, each with the options that sample as its run does."""
    (desk / "spec.toml").write_text(SPEC)
    for name, settings, options in RECIPES:
        out, export = desk / name, desk / f"{name}-export"
        set_all = [part for setting in settings for part in ("--set", setting)]
        run(eclipse, "train", "--config", desk / "spec.toml", "--out", out, *set_all)
        run(eclipse, "export", out, "--to", export)
        yield export, options
    golden = unpacked("kandinsky22-tiny-s0")
    store = desk / "store"
    run(
        eclipse,
        *("encode", "--clip", golden / "kandinsky22_prior", "--pairs", "world:emoji?n=32"),
        *("--out", store),
    )
    (desk / "store.toml").write_text(
        f"[data]\nstore = '{store}'\n[model]\nn_heads = 2\nd_head = 8\nn_layers = 1\n[objective]\nkind = 'eclipse'\ntau = 0.02\n[train]\nsteps = 4\nbatch_size = 16\n"
    )
    run(eclipse, "train", "--config", desk / "store.toml", "--out", desk / "small")
    small = ["--size", "64", "--steps", "10"]
    for name, decoder, options in [
        ("kandinsky", kandinsky(desk / "k22"), small),
        ("karlo", karlo(desk / "unclip"), []),
    ]:
        export = desk / f"{name}-export"
        run(eclipse, "export", desk / "small", "--to", export, "--decoder", decoder)
        yield export, options


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
    worst, furthest = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        desk = pathlib.Path(folder)
        for export, options in [(e, []) for e in args.exports] or trained(args.eclipse, desk):
            # Of embeddings that no known decoder reads, the network alone is compared.
            has_decoder = "decoder = " in (export / "README.md").read_text()
            levels = whole_pipeline(args.eclipse, export.resolve(), options, desk) if has_decoder else None
            furthest = max(furthest, levels or 0)
            difference, largest, name = compare(args.eclipse, export.resolve(), desk)
            worst = max(worst, difference)
            print(
                f"{export.name}: {name}: max abs diff {difference:.2e} (values up to {largest:.2f}), "
                + (f"images of the card's lines {levels} of 255 apart" if has_decoder else "no decoder, no images"),
                flush=True,
            )
    is_equal = worst <= TOLERANCE and furthest <= LEVELS
    print(
        f"{'equal' if is_equal else 'NOT equal'}: largest difference {worst:.2e}, allowed {TOLERANCE:.0e}; "
        f"of images {furthest} of 255, allowed {LEVELS}"
    )
    return int(not is_equal)


if __name__ == "__main__":
    sys.exit(main())
