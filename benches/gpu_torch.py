"""The work of `eclipse dev measure` in PyTorch, for benches/gpu.sh: one line of JSON.

pip install -r benches/requirements.txt   (transformers for the towers, diffusers for the UNet; the step needs torch alone)

The step trims padding, as a good implementation would: all captions of a batch have the same length. Attention is
scaled_dot_product_attention, AdamW is fused, `bf16` is autocast with f32 weights; nothing is compiled.
"""

import argparse
import json
import time

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """A block of diffusers' PriorTransformer."""

    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x):
        n, seq, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, seq, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(n, seq, d))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Prior(nn.Module):
    """The 33M prior: tokens of the text, pooled text, noise, query."""

    def __init__(self, layers, heads, d_clip=768):
        super().__init__()
        d = 32 * heads
        self.text, self.pooled, self.noise = (nn.Linear(d_clip, d) for _ in range(3))
        self.query, self.positions = nn.Parameter(torch.zeros(1, 1, d)), nn.Parameter(torch.zeros(1, 80, d))
        self.blocks = nn.ModuleList(Block(d, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, d_clip)

    def forward(self, noise, pooled, tokens):
        n, seq, _ = tokens.shape
        own = [self.pooled(pooled)[:, None], self.noise(noise)[:, None], self.query.expand(n, -1, -1)]
        x = torch.cat([self.text(tokens), *own], 1)
        x = x + self.positions[:, -x.shape[1] :]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, -1]))


def step(args, device):
    prior = Prior(1 if args.tiny else 10, 2 if args.tiny else 16).to(device)
    optimizer = torch.optim.AdamW(prior.parameters(), lr=5e-5, weight_decay=0.0, fused=device.type == "cuda")
    draw = lambda *shape: torch.randn(*shape, device=device)
    noise, z_x, z_y = (draw(args.batch, 768) for _ in range(3))
    tokens = draw(args.batch, args.tokens, 768)
    labels = torch.arange(args.batch, device=device)

    def work():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=args.mode == "bf16"):
            predicted = prior(noise, z_y, tokens)
        predicted = predicted.float()
        scores = F.normalize(predicted, dim=-1) @ F.normalize(z_y, dim=-1).T / 0.01
        loss = F.mse_loss(predicted, z_x) + 0.2 * F.cross_entropy(scores, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()

    return work


def tower(args, device):
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPVisionConfig, CLIPVisionModelWithProjection

    sizes = {
        "vision-l14": dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, projection_dim=768),
        "vision-bigg14": dict(hidden_size=1664, intermediate_size=8192, num_hidden_layers=48, num_attention_heads=16, projection_dim=1280),
        "text-l14": dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768),
    }[args.work]
    if args.tiny:
        sizes["num_hidden_layers"] = 1
    dtype = torch.bfloat16 if args.mode == "bf16" else torch.float32
    if args.work.startswith("vision"):
        model = CLIPVisionModelWithProjection(CLIPVisionConfig(image_size=224, patch_size=14, **sizes))
        inputs = {"pixel_values": torch.randn(args.batch, 3, 224, 224, dtype=dtype, device=device)}
    else:
        model = CLIPTextModelWithProjection(CLIPTextConfig(**sizes))
        inputs = {"input_ids": torch.full((args.batch, args.tokens), 49407, device=device)}
    model = model.to(device, dtype).eval()
    return lambda: model(**inputs)


def unet(args, device):
    """A step of Kandinsky 2.2's UNet at 512 x 512 pixels, with the published configuration."""
    import diffusers
    from compare_pytorch import config_of

    config, side = config_of("kandinsky22_unet"), 16 if args.tiny else 64
    if args.tiny:
        config |= dict(block_out_channels=[64, 64, 64, 64], layers_per_block=1)
    dtype = torch.bfloat16 if args.mode == "bf16" else torch.float32
    with device:
        network = diffusers.UNet2DConditionModel.from_config(config)
    network = network.to(device, dtype, memory_format=torch.channels_last).eval()
    draw = lambda *shape: torch.randn(*shape, dtype=dtype, device=device)
    latents, z_x = draw(args.batch, 4, side, side).contiguous(memory_format=torch.channels_last), draw(args.batch, 1280)
    return lambda: network(latents, 500, encoder_hidden_states=None, added_cond_kwargs={"image_embeds": z_x})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=["step", "vision-l14", "text-l14", "vision-bigg14", "unet"])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=14)
    parser.add_argument("--mode", choices=["f32", "tf32", "bf16"], default="f32")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.mode != "f32"
    sync = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    work = {"step": step, "unet": unet}.get(args.work, tower)(args, device)
    times = []
    with torch.enable_grad() if args.work == "step" else torch.inference_mode():
        for _ in range(args.repeat + 2):
            start = time.perf_counter()
            work()
            sync()
            times.append(time.perf_counter() - start)
    median = sorted(times[2:])[args.repeat // 2]
    result = dict(work=args.work, mode=args.mode, device=str(device), torch=torch.__version__, batch=args.batch, ms=median * 1e3)
    print(json.dumps(result | dict(per_second=args.batch / median, first_s=times[0])))


if __name__ == "__main__":
    main()
