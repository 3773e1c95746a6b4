#!/usr/bin/env python3
"""Makes the decoder fixtures `kandinsky22-micro-s0` and `karlo-micro-s0` of tests/golden.

    python -m venv venv && venv/bin/pip install -r tests/python/requirements.txt
    venv/bin/python tests/python/make_goldens.py [--out tests/golden] [--seed 0]

A fixture is a miniature of a published decoder (random weights, stored as f16, computed in f32) with what diffusers computes
with it: each network by itself, and whole decoding runs that start from CLIP embeddings, so that no text encoder is needed. Layout and
names are those of the other fixtures: `goldens/NAME.safetensors` holds `in.*`, `out.*` and `noise.NNN` (every normal draw in its order);
the metadata key `info` is JSON with the call's arguments and `f64_max_abs_diff`, how far the f32 result is from the same
computation in f64. Nothing is downloaded, and nothing derives from published weights.

Two decisions keep this small and its tests sharp. Sizes are unlike the published ones wherever code could be tempted to assume them
(two blocks instead of four, so MoVQ scales by 2; super-resolution by 1.5; 5 context tokens; 7 text tokens). And the numbers are taken
from models that were loaded back from the files written, so the files are what was computed.
"""
import argparse
import contextlib
import json
import pathlib
import platform
import shutil
from unittest import mock

import diffusers
import numpy as np
import PIL
import torch
import transformers
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    KandinskyV22Img2ImgPipeline,
    KandinskyV22Pipeline,
    KandinskyV22PriorPipeline,
    UnCLIPImageVariationPipeline,
    UnCLIPScheduler,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from diffusers.pipelines.deprecated.unclip import pipeline_unclip_image_variation as karlo_module
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from diffusers.pipelines.kandinsky2_2 import pipeline_kandinsky2_2 as k22_module
from diffusers.pipelines.kandinsky2_2 import pipeline_kandinsky2_2_img2img as img2img_module
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from diffusers.pipelines.stable_diffusion.pipeline_stable_unclip import StableUnCLIPPipeline
from diffusers.schedulers import scheduling_ddim, scheduling_ddpm, scheduling_unclip
from PIL import Image
from safetensors.torch import save_file

D_CLIP, D_CROSS, N_TEXT = 10, 6, 7
WIDTHS = (4, 8)
UNET = dict(
    block_out_channels=WIDTHS,
    layers_per_block=1,
    norm_num_groups=2,
    attention_head_dim=4,
    cross_attention_dim=D_CROSS,
    resnet_time_scale_shift="scale_shift",
    mid_block_type="UNetMidBlock2DSimpleCrossAttn",
    down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
    up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
)
BETAS = dict(num_train_timesteps=1000, beta_schedule="linear", beta_start=0.00085, beta_end=0.012)
# Every module that draws normal noise in the runs below, by the name it calls.
DRAWING = (karlo_module, k22_module, img2img_module, scheduling_unclip, scheduling_ddpm, scheduling_ddim)


class Noise:
    """Normal draws in place of diffusers' own: written down, or given out again."""

    def __init__(self, seed=0, recorded=()):
        self.generator = torch.Generator().manual_seed(seed)
        self.recorded, self.drawn = list(recorded), []

    def draw(self, shape, generator=None, device=None, dtype=torch.float32, layout=None):
        again = len(self.drawn) < len(self.recorded)
        x = self.recorded[len(self.drawn)] if again else torch.randn(tuple(shape), generator=self.generator)
        assert tuple(x.shape) == tuple(shape), f"draw {len(self.drawn)}: {tuple(x.shape)} was recorded, {tuple(shape)} is asked for"
        self.drawn.append(x)
        return x.to(dtype)

    @contextlib.contextmanager
    def in_use(self):
        with contextlib.ExitStack() as stack:
            for module in DRAWING:
                stack.enter_context(mock.patch.object(module, "randn_tensor", self.draw))
            yield self


class Fixture:
    """One folder under tests/golden."""

    def __init__(self, out, family, seed):
        self.root = pathlib.Path(out) / f"{family}-micro-s{seed}"
        shutil.rmtree(self.root, ignore_errors=True)
        (self.root / "goldens").mkdir(parents=True)
        self.about = dict(family=family, size="micro", seed=seed)
        self.seed, self.index, self.n_streams = seed, {}, 0

    def stream(self):
        """A new seed: no two things here share their random numbers."""
        self.n_streams += 1
        return self.seed * 1000 + self.n_streams

    def normal(self, *shape):
        return torch.randn(shape, generator=torch.Generator().manual_seed(self.stream()))

    def model(self, model, folder):
        """Fills `model` with random numbers, writes it as f16 and loads that back in f32."""
        generator = torch.Generator().manual_seed(self.stream())
        for name, parameter in model.named_parameters():
            x = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:  # keeps the variance of what flows through
                x = x / parameter[0].numel() ** 0.5
            elif name.endswith("weight"):  # of a norm
                x = 1 + 0.2 * x
            elif name.endswith("bias"):
                x = 0.1 * x
            if name == "conv_out.weight":  # a tame last layer, or guided trajectories are chaotic
                x = 0.3 * x
            parameter.data = x
        model.half().save_pretrained(self.root / folder)
        return type(model).from_pretrained(self.root / folder, torch_dtype=torch.float32).eval().requires_grad_(False)

    def write(self, name, tensors, **info):
        for key, x in tensors.items():
            assert not x.is_floating_point() or x.isfinite().all(), f"{name}: {key} is not finite"
        tensors = {key: x.detach().clone().contiguous() for key, x in tensors.items()}
        text = json.dumps(self.about | info)
        save_file(tensors, self.root / "goldens" / f"{name}.safetensors", metadata={"info": text})
        self.index[name] = dict(info=info)
        largest = max(info.get("f64_max_abs_diff", {"": 0.0}).values())
        print(f"{self.root.name}/{name}: {len(tensors)} tensors, f32 is off by {largest:.1e}")

    def network(self, name, model, compute, inputs, **info):
        """A golden of `compute(model, inputs)`, a dict of outputs, in f32; with what f64 makes of it."""
        outputs = compute(model, inputs)
        wide = {key: x.double() if x.is_floating_point() else x for key, x in inputs.items()}
        exact = compute(model.double(), wide)
        model.float()
        self.write(name, named("in", inputs) | named("out", outputs), f64_max_abs_diff=distance(outputs, exact), **info)

    def run(self, name, parts, compute, inputs, **info):
        """A golden of `compute(parts, inputs)`, a whole decoding run that draws noise."""
        with Noise(self.stream()).in_use() as noise:
            outputs = compute(parts, inputs)
        models = [part for part in parts.values() if isinstance(part, torch.nn.Module)]
        wide = {key: x.double() if torch.is_tensor(x) and x.is_floating_point() else x for key, x in inputs.items()}
        for model in models:
            model.double()
        with Noise(recorded=noise.drawn).in_use():
            exact = compute(parts, wide)
        for model in models:
            model.float()
        draws = {f"noise.{i:03}": x for i, x in enumerate(noise.drawn)}
        given = named("in", {key: x for key, x in inputs.items() if torch.is_tensor(x)})
        self.write(name, given | draws | named("out", outputs), f64_max_abs_diff=distance(outputs, exact), **info)

    def close(self):
        versions = {m.__name__: m.__version__ for m in (torch, diffusers, transformers, np, PIL)}
        versions["python"] = platform.python_version()
        text = json.dumps(self.about | dict(versions=versions, goldens=self.index), indent=1)
        (self.root / "manifest.json").write_text(text + "\n")


def named(prefix, tensors):
    return {f"{prefix}.{key}": x for key, x in tensors.items()}


def distance(outputs, exact):
    return {key: float((x.double() - exact[key].double()).abs().max()) for key, x in outputs.items() if x.is_floating_point()}


def plain(config):
    """A scheduler's configuration without what diffusers notes for itself."""
    return {key: value for key, value in config.items() if not key.startswith("_")}


@contextlib.contextmanager
def watched(target, method, keep):
    """Hands (arguments, result) of every call of `target.method` to `keep`."""
    original = getattr(target, method)

    def call(*args, **kwargs):
        result = original(*args, **kwargs)
        keep(args, kwargs, result)
        return result

    with mock.patch.object(target, method, call):
        yield


@contextlib.contextmanager
def trajectory(scheduler):
    """The sample after every step."""
    steps = []
    take = lambda result: result[0] if isinstance(result, tuple) else result.prev_sample
    with watched(scheduler, "step", lambda args, kwargs, result: steps.append(take(result).clone())):
        yield steps


def quiet(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


# ------------------------------------------------------------------------------------------------ Kandinsky 2.2


def decode_k22(parts, inputs, pipeline=KandinskyV22Pipeline, **arguments):
    """A run of a Kandinsky 2.2 decoder pipeline, from embeddings to the picture."""
    pipe, seen = quiet(pipeline(**parts)), {}

    def keep(args, kwargs, result):
        seen.update(latents=args[0].clone(), decoded=result["sample"].clone())

    with trajectory(pipe.scheduler) as steps, watched(pipe.movq, "decode", keep):
        pictures = pipe(
            image_embeds=inputs["image_embeds"], negative_image_embeds=inputs["negative_image_embeds"], output_type="np", **arguments
        ).images
    return dict(decoder_steps=torch.stack(steps), **seen, image=torch.tensor(np.stack(pictures)))


def init_pictures(fixture):
    """PNG files of sizes that resizing must round, shrink by whole factors first, or leave alone."""
    folder, files = fixture.root / "images", {}
    folder.mkdir()
    random = np.random.default_rng(fixture.stream())
    for name, (height, width) in dict(same=(16, 16), wide=(17, 27), large=(35, 70)).items():
        y, x = np.mgrid[:height, :width]
        waves = [128 + 100 * np.sin(x / (3 + c) + y / (5 - c)) for c in range(3)]
        noisy = np.stack(waves, -1) + random.normal(0, 15, (height, width, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")
        files[name] = f"images/{name}.png"
    return files


def kandinsky22(out, seed):
    f = Fixture(out, "kandinsky22", seed)
    folder = "kandinsky22_decoder"
    unet = f.model(
        UNet2DConditionModel(
            **UNET,
            sample_size=8,
            in_channels=4,
            out_channels=8,
            addition_embed_type="image",
            addition_embed_type_num_heads=64,
            encoder_hid_dim=D_CLIP,
            encoder_hid_dim_type="image_proj",
        ),
        f"{folder}/unet",
    )
    movq = f.model(
        VQModel(
            block_out_channels=(32, 32),
            layers_per_block=1,
            latent_channels=4,
            vq_embed_dim=4,
            num_vq_embeddings=20,
            norm_type="spatial",
            down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
            up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        ),
        f"{folder}/movq",
    )
    clipping = dict(clip_sample=True, clip_sample_range=2.0, sample_max_value=2.0, steps_offset=1)
    shipped = DDPMScheduler(**BETAS, **clipping, thresholding=True, variance_type="learned_range", prediction_type="epsilon")
    parts = dict(unet=unet, movq=movq, scheduler=shipped)
    shipped.save_pretrained(f.root / folder / "scheduler")
    KandinskyV22Pipeline(**parts).save_config(f.root / folder)
    scale = 2 ** (len(movq.config.block_out_channels) - 1)

    def predict(unet, x):
        condition = {"image_embeds": x["image_embeds"]}
        return dict(sample=unet(x["sample"], x["timestep"], encoder_hidden_states=None, added_cond_kwargs=condition).sample)

    inputs = dict(sample=f.normal(2, 4, 8, 12), timestep=torch.tensor([907, 31]), image_embeds=f.normal(2, D_CLIP))
    f.network("k22_unet", unet, predict, inputs, note="first half of the channels: epsilon, second: variance")

    def autoencode(movq, x):
        latents = movq.encode(x["image"]).latents
        quantized, _, (_, _, indices) = movq.quantize(latents)
        return dict(
            decoded=movq.decode(x["latents"], force_not_quantize=True).sample,
            decoded_quantized=movq.decode(x["latents"]).sample,
            encoded=latents,
            quantized=quantized,
            indices=indices.reshape(-1),
            recon=movq(x["image"]).sample,
        )

    inputs = dict(latents=f.normal(1, 4, 4, 6), image=f.normal(1, 3, 16, 24).clamp(-1, 1))
    f.network("movq", movq, autoencode, inputs)

    sizes = [(h, w) for h in (1, scale**2 - 1, scale**2, 100, 512) for w in (scale**2 + 1, 768)]
    rounded = [k22_module.downscale_height_and_width(h, w, scale) for h, w in sizes]
    f.write("size_rounding", dict(hw_in=torch.tensor(sizes), latent_hw=torch.tensor(rounded)), scale_factor=scale)

    embeddings = dict(image_embeds=f.normal(2, D_CLIP), negative_image_embeds=f.normal(2, D_CLIP))
    call = dict(height=18, width=10, num_inference_steps=4, guidance_scale=4.0)
    note = "starts from in.*; sizes are rounded up to a multiple of the square of MoVQ's factor"
    f.run(
        "pipeline_k22_decoder", parts, lambda p, x: decode_k22(p, x, **call), embeddings,
        args=call, scheduler=plain(shipped.config) | {"_class_name": "DDPMScheduler"}, note=note,
    )  # fmt: skip
    ddim = DDIMScheduler(**BETAS, **clipping, set_alpha_to_one=False, prediction_type="epsilon")
    call = dict(height=16, width=16, num_inference_steps=3, guidance_scale=2.5)
    f.run(
        "pipeline_k22_decoder_ddim", parts | dict(scheduler=ddim), lambda p, x: decode_k22(p, x, **call), embeddings,
        args=call, scheduler=plain(ddim.config) | {"_class_name": "DDIMScheduler"}, note=note + "; the variance channels are dropped",
    )  # fmt: skip

    files = init_pictures(f)
    processor = quiet(KandinskyV22Img2ImgPipeline(**parts)).image_processor
    pixels = {name: processor.preprocess(Image.open(f.root / file), 16, 16) for name, file in files.items()}
    f.write(
        "k22_init_picture", named("out.pixels", pixels), files=files, height=16, width=16,
        note="[1, 3, h, w] in -1..1. Pillow: where a side is at least twice the wanted one, first a box average over whole factors "
        "(both passes of which round), then bicubic (antialiased) to the size; no crop, no regard to proportions",
    )  # fmt: skip
    one = {key: x[:1] for key, x in embeddings.items()}
    for name, file, schedule, call in (
        ("k22_img2img", "same", shipped, dict(num_inference_steps=6, strength=0.5, guidance_scale=4.0)),
        ("k22_img2img_ddim", "wide", ddim, dict(num_inference_steps=7, strength=0.4, guidance_scale=1.0)),
    ):
        call = dict(height=16, width=16) | call
        picture = Image.open(f.root / files[file])
        f.run(
            name, parts | dict(scheduler=schedule),
            lambda p, x: decode_k22(p, x, KandinskyV22Img2ImgPipeline, image=picture, **call), one,
            args=call, image=files[file], scheduler=plain(schedule.config) | {"_class_name": type(schedule).__name__},
            note="noise.000 is added to MoVQ's latents of the picture (before quantisation) at the first of the last int(steps * strength) timesteps",
        )  # fmt: skip
    interpolation(f)
    noise_augmentation(f)
    f.close()


def noise_augmentation(f):
    """unCLIP's: StableUnCLIP's noise on embeddings, and a UNet that is told its level. Kandinsky's UNet with `class_embed_type: timestep`."""
    unet = f.model(
        UNet2DConditionModel(
            **UNET,
            sample_size=8,
            in_channels=4,
            out_channels=4,
            addition_embed_type="image",
            addition_embed_type_num_heads=64,
            encoder_hid_dim=D_CLIP,
            encoder_hid_dim_type="image_proj",
            class_embed_type="timestep",
        ),
        "noise_augmented/noise_level_unet",
    )

    def predict(unet, x):
        condition = {"image_embeds": x["image_embeds"]}
        rest = dict(class_labels=x["noise_level"], encoder_hidden_states=None, added_cond_kwargs=condition)
        return dict(sample=unet(x["sample"], x["timestep"], **rest).sample)

    inputs = dict(sample=f.normal(3, 4, 8, 12), timestep=torch.tensor([907, 31, 500]), image_embeds=f.normal(3, D_CLIP))
    f.network("noise_level_unet", unet, predict, inputs | dict(noise_level=torch.tensor([0, 1, 600])))

    normalizer = StableUnCLIPImageNormalizer(D_CLIP)
    normalizer.mean.data, normalizer.std.data = 3 * f.normal(1, D_CLIP), 0.5 + f.normal(1, D_CLIP).abs()
    normalizer.save_pretrained(f.root / "noise_augmented/image_normalizer")
    schedule = DDPMScheduler(beta_schedule="squaredcos_cap_v2", num_train_timesteps=1000)
    schedule.save_pretrained(f.root / "noise_augmented/image_noising_scheduler")

    class Pipeline:
        image_normalizer, image_noising_scheduler = normalizer, schedule

    def augment(_, x):
        rows = []
        for level, row, noise in zip(x["noise_level"].tolist(), x["image_embeds"], x["eps"]):
            both = StableUnCLIPPipeline.noise_image_embeddings(Pipeline, row[None], level, noise=noise[None])
            rows.append(both[:, :D_CLIP])  # the level's sinusoids follow
        return dict(image_embeds=torch.cat(rows))

    inputs = dict(image_embeds=f.normal(4, D_CLIP), eps=f.normal(4, D_CLIP), noise_level=torch.tensor([1, 250, 600, 999]))
    f.network("noise_augmentation", normalizer, augment, inputs, note="our level 0 adds nothing")


def interpolation(f):
    """Between embeddings: the prior pipeline's weighted sum (run with stand-ins for its networks), and the great circle."""
    ends, weights = f.normal(3, D_CLIP), [0.2, 0.5, 0.3]

    class Stub(KandinskyV22PriorPipeline):
        def __init__(self):
            self.image_encoder = lambda embedding: {"image_embeds": embedding}

        device = property(lambda self: "cpu")

        def __call__(self, *args, **kwargs):
            return diffusers.pipelines.kandinsky.pipeline_kandinsky_prior.KandinskyPriorPipelineOutput(ends[:1], ends[:1])

    mixed = Stub().interpolate([x[None] for x in ends], weights).image_embeds
    a, b = ends[0].double(), ends[1].double()
    angle = torch.arccos((a @ b) / (a.norm() * b.norm()))
    at = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]
    circle = (torch.sin((1 - at) * angle) * a + torch.sin(at * angle) * b) / torch.sin(angle)
    f.write(
        "interpolation",
        {"in.embeds": ends, "in.weights": torch.tensor(weights), "in.at": at[:, 0].float(), "out.weighted": mixed, "out.slerp": circle.float()},
        note="weighted: sum of weights * embeds, by KandinskyV22PriorPipeline.interpolate; slerp: between the first two, by the angle "
        "between them (f64; lengths are not normalised). diffusers' community pipelines take an angle per component instead: not this",
    )


# ------------------------------------------------------------------------------------------------ Karlo


class FromEmbeddings(UnCLIPImageVariationPipeline):
    """Karlo's decoder and super-resolution with given text embeddings (the unconditional half first, where guided)."""

    text = None

    _execution_device = torch.device("cpu")

    def _encode_prompt(self, *args):
        return self.text


def decode_karlo(parts, inputs, **arguments):
    # The image encoder is asked for its dtype and nothing else.
    encoder = torch.nn.Linear(1, 1).to(parts["decoder"].dtype)
    absent = dict(text_encoder=None, tokenizer=None, feature_extractor=None, image_encoder=encoder)
    pipe, seen = quiet(FromEmbeddings(**parts, **absent)), {}
    pipe.text = (inputs["prompt_embeds"], inputs["tokens"], inputs["mask"])

    def keep(args, kwargs, result):
        seen.setdefault("super_res_input", kwargs["sample"].clone())

    with trajectory(pipe.decoder_scheduler) as decoder, trajectory(pipe.super_res_scheduler) as super_res:
        with watched(pipe.super_res_first, "forward", keep):
            pictures = pipe(image_embeddings=inputs["image_embeddings"], output_type="np", **arguments).images
    return dict(decoder_steps=torch.stack(decoder), super_res_steps=torch.stack(super_res), **seen, image=torch.tensor(np.stack(pictures)))


def karlo(out, seed):
    f = Fixture(out, "karlo", seed)
    small, large = 8, 12
    text_proj = f.model(
        UnCLIPTextProjModel(clip_extra_context_tokens=5, clip_embeddings_dim=D_CLIP, time_embed_dim=4 * WIDTHS[0], cross_attention_dim=D_CROSS),
        "karlo/text_proj",
    )
    decoder = f.model(
        UNet2DConditionModel(**UNET, sample_size=small, in_channels=3, out_channels=6, class_embed_type="identity"), "karlo/decoder"
    )
    super_res = {
        name: f.model(
            UNet2DModel(
                sample_size=large,
                in_channels=6,
                out_channels=3,
                block_out_channels=WIDTHS,
                layers_per_block=1,
                norm_num_groups=4,
                add_attention=False,
                down_block_types=("ResnetDownsampleBlock2D",) * 2,
                up_block_types=("ResnetUpsampleBlock2D",) * 2,
            ),
            f"karlo/{name}",
        )
        for name in ("super_res_first", "super_res_last")
    }
    parts = dict(
        decoder=decoder,
        text_proj=text_proj,
        **super_res,
        decoder_scheduler=UnCLIPScheduler(variance_type="learned_range", prediction_type="epsilon", num_train_timesteps=1000),
        super_res_scheduler=UnCLIPScheduler(variance_type="fixed_small_log", prediction_type="epsilon", num_train_timesteps=1000),
    )
    for name in ("decoder_scheduler", "super_res_scheduler"):
        parts[name].save_pretrained(f.root / "karlo" / name)
    write_karlo_index(f.root / "karlo", parts)

    n = 2

    def project(text_proj, x):
        whole = text_proj(
            image_embeddings=x["image_embeddings"], prompt_embeds=x["prompt_embeds"],
            text_encoder_hidden_states=x["text_encoder_hidden_states"], do_classifier_free_guidance=True,
        )  # fmt: skip
        half = text_proj(
            image_embeddings=x["image_embeddings"], prompt_embeds=x["prompt_embeds"][n:],
            text_encoder_hidden_states=x["text_encoder_hidden_states"][n:], do_classifier_free_guidance=False,
        )  # fmt: skip
        return dict(hidden_cfg=whole[0], time_cfg=whole[1], hidden_plain=half[0], time_plain=half[1])

    inputs = dict(
        image_embeddings=f.normal(n, D_CLIP), prompt_embeds=f.normal(2 * n, D_CLIP), text_encoder_hidden_states=f.normal(2 * n, N_TEXT, D_CLIP)
    )
    f.network("text_proj", text_proj, project, inputs)

    def predict(unet, x):
        rest = dict(encoder_hidden_states=x["encoder_hidden_states"], class_labels=x["class_labels"])
        masked = unet(x["sample"], x["timestep"], attention_mask=x["attention_mask"], **rest)
        return dict(sample=masked.sample, no_mask=unet(x["sample"], x["timestep"], **rest).sample)

    n_context = text_proj.config.clip_extra_context_tokens + N_TEXT
    inputs = dict(
        sample=f.normal(2, 3, small, small),
        timestep=torch.tensor([958, 0]),
        encoder_hidden_states=f.normal(2, n_context, D_CROSS),
        class_labels=f.normal(2, 4 * WIDTHS[0]),
        attention_mask=torch.arange(n_context)[None] < torch.tensor([[8], [n_context]]),
    )
    f.network("karlo_decoder_unet", decoder, predict, inputs)
    for name, model in super_res.items():
        inputs = dict(sample=f.normal(1, 6, large, large), timestep=torch.tensor([714]))
        f.network(f"karlo_{name}_unet", model, lambda m, x: dict(sample=m(x["sample"], x["timestep"]).sample), inputs)

    x = f.normal(1, 2, 6, 7)
    resize = lambda antialias: torch.nn.functional.interpolate(
        x, size=[large, large + 3], mode="bicubic", align_corners=False, antialias=antialias
    )
    f.write("bicubic_upscale", dict(zip(("in", "out", "out_noantialias"), (x, resize(True), resize(False)))))

    mask = torch.arange(N_TEXT)[None] < torch.tensor([[2], [2], [N_TEXT], [4]])
    inputs = dict(image_embeddings=f.normal(n, D_CLIP), prompt_embeds=f.normal(2 * n, D_CLIP), tokens=f.normal(2 * n, N_TEXT, D_CLIP), mask=mask)
    call = dict(decoder_num_inference_steps=4, super_res_num_inference_steps=3, decoder_guidance_scale=8.0)
    note = "starts from in.*: z_x, and z_y, token states and mask of the text, its unconditional half first where guided"
    f.run("karlo_decode", parts, lambda p, x: decode_karlo(p, x, **call), inputs, args=call, note=note)
    inputs = {key: x[:1] if key == "image_embeddings" else x[2:3] for key, x in inputs.items()}
    plain_call = dict(decoder_num_inference_steps=2, super_res_num_inference_steps=2, decoder_guidance_scale=1.0)
    f.run("karlo_decode_noguidance", parts, lambda p, x: decode_karlo(p, x, **plain_call), inputs, args=plain_call, note=note)
    f.close()


def write_karlo_index(folder, parts):
    """`model_index.json` of a Karlo pipeline whose text half is elsewhere."""
    index = {"_class_name": "UnCLIPImageVariationPipeline", "_diffusers_version": diffusers.__version__}
    for name, part in parts.items():
        # The published file calls the library of `text_proj` "unclip".
        index[name] = ["unclip" if name == "text_proj" else "diffusers", type(part).__name__]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=pathlib.Path(__file__).parents[1] / "golden", help="folder for the fixtures")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    with torch.no_grad():
        kandinsky22(arguments.out, arguments.seed)
        karlo(arguments.out, arguments.seed)


if __name__ == "__main__":
    main()
