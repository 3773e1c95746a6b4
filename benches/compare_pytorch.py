"""The same work in this program and in PyTorch, on this machine's CPU: benches/RESULTS.md.

    just compare-pytorch                     # 20 minutes on two cores; waits for a quiet machine
    just compare-pytorch --rows step,text --now --out target/trial.md

Needs benches/requirements.txt. Processes of the two alternate, row by row; every process times its calls itself, without
its start and without the first call. The table is also written between the marks in docs/devices.md, if RESULTS.md is.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benches" / "RESULTS.md"
DOCS = ROOT / "docs" / "devices.md"
MARKS = ("<!-- table: benches/RESULTS.md -->", "<!-- end of table -->")
OURS = "ours"

# Modes of PyTorch. `as users run it` comes first: f32, eager, captions padded to 77 tokens.
PADDED, TRIMMED, BF16 = "f32, padded to 77", "f32, trimmed", "bf16, trimmed"
EAGER, LAST, HALF = "f32", "f32, channels-last", "bf16"

# Name: title, row and sizes of benches/rows, modes of PyTorch, rounds, calls a process.
ROWS = {
    "step": ("training step, batch 32, 14 tokens", "step", dict(batch=32, tokens=14), [PADDED, TRIMMED, BF16], 3, 5),
    "step-77": ("training step, batch 32, 77 tokens", "step", dict(batch=32, tokens=77), [PADDED, TRIMMED, BF16], 2, 3),
    "infer": ("prior, batch 64, 14 tokens", "infer", dict(batch=64, tokens=14), [PADDED, TRIMMED, BF16], 3, 5),
    "text": ("CLIP L/14 text, batch 32, 77 tokens", "text-l14", dict(batch=32, tokens=77), [EAGER, HALF], 2, 3),
    "text-14": ("CLIP L/14 text, batch 32, 14 tokens", "text-l14", dict(batch=32, tokens=14), [PADDED, TRIMMED, BF16], 2, 3),
    "vision": ("CLIP L/14 vision, batch 8", "vision-l14", dict(batch=8), [EAGER, LAST, HALF], 2, 1),
    "unet": ("Kandinsky 2.2 UNet, guided step, 64 x 64", "unet", dict(batch=2, side=64), [EAGER, LAST, HALF], 2, 1),
    "movq": ("MoVQ, decoding to 512 x 512", "movq", dict(batch=1, side=64), [EAGER, LAST, HALF], 2, 1),
    "super-res": ("Karlo super-resolution, step, 256 x 256", "super-res", dict(batch=1, side=256), [EAGER, LAST, HALF], 1, 1),
}
# Peaks of the machine: name, title, row of benches/rows, modes of PyTorch, threads (None: all).
PEAKS = {
    "gemm": ("product of 1024 x 1024", "gemm", [EAGER, HALF]),
    "gemm-step": ("largest product of the step, 544 x 512 x 2048", "gemm-step", [EAGER, HALF]),
    "copy": ("copy of 256 MiB", "copy", [EAGER]),
}
FLOPS = {"gemm": 2 * 1024**3, "gemm-step": 2 * 544 * 512 * 2048}
COPY_BYTES = 2 * 4 * 2**26  # read and written


# --- PyTorch's side: a process for each measurement ---------------------------------------------------------------


def config_of(name):
    """The configuration in the head of a list of published keys."""
    with zipfile.ZipFile(ROOT / "tests" / "golden" / "keys.zip") as archive:
        lines = archive.read(f"keys/{name}.txt").decode().splitlines()
    return json.loads(next(line for line in lines if line.startswith("# config ")).removeprefix("# config "))


def built(make, dtype=None):
    """A network with random weights. Library initialisers are off: drawing a billion values takes longer than the measurement."""
    import torch

    torch.set_default_dtype(dtype or torch.float32)
    for name in [name for name in dir(torch.nn.init) if name.endswith("_") and not name.startswith("_")]:
        setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor)
    network = make()
    torch.set_default_dtype(torch.float32)
    pattern = torch.randn(65_537, device="cpu")
    with torch.no_grad():
        for name, p in network.named_parameters():
            if p.device.type == "meta":
                continue
            if p.dim() < 2:
                p.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
            else:
                values = pattern.repeat(p.numel() // len(pattern) + 1)[: p.numel()]
                p.copy_(values.view(p.shape) / p[0].numel() ** 0.5)
    return network


def prior_work(row, mode, sizes, bf16):
    import torch
    from torch.nn import functional as F

    sys.path.insert(0, str(ROOT / "src" / "experiment" / "export" / "python"))
    from eclipse_prior import EclipsePrior

    batch, tokens = sizes["batch"], sizes["tokens"]
    n_text = 77 if mode == PADDED else tokens
    config = config_of("eclipse_karlo_prior") | {"num_embeddings": n_text}
    prior = built(lambda: EclipsePrior(**config))
    eps, z_x, z_y = (torch.randn(batch, 768) for _ in range(3))
    text, mask = torch.randn(batch, n_text, 768), torch.zeros(batch, n_text)
    mask[:, :tokens] = 1
    labels = torch.arange(batch)

    def forward():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return prior(eps, 0, z_y, text, mask).predicted_image_embedding

    if row == "infer":
        prior.eval().requires_grad_(False)
        return lambda first: forward()
    # As users run it: PyTorch's default implementation of AdamW.
    fused = {} if mode == PADDED or eps.is_meta else {"fused": True}
    optimizer = torch.optim.AdamW(prior.parameters(), lr=5e-5, weight_decay=0.0, **fused)

    def step(first):
        optimizer.zero_grad(set_to_none=True)
        predicted = forward().float()
        scores = F.normalize(predicted, dim=-1) @ F.normalize(z_y, dim=-1).T / 0.01
        (F.mse_loss(predicted, z_x) + 0.2 * F.cross_entropy(scores, labels)).backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()

    return step


def tower_work(row, mode, sizes, bf16):
    import torch
    import transformers

    dtype = torch.bfloat16 if bf16 else torch.float32
    if row == "text-l14":
        config = transformers.CLIPTextConfig(**config_of("clip_l14_text"))
        tower = built(lambda: transformers.CLIPTextModelWithProjection(config), dtype)
        inputs = {"input_ids": torch.full((sizes["batch"], 77 if mode == PADDED else sizes["tokens"]), 49407)}
    else:
        config = transformers.CLIPVisionConfig(**config_of("clip_l14_vision"))
        tower = built(lambda: transformers.CLIPVisionModelWithProjection(config), dtype)
        inputs = {"pixel_values": torch.randn(sizes["batch"], 3, 224, 224, dtype=dtype)}
    tower = tower.eval().requires_grad_(False)
    if mode == LAST:
        tower = tower.to(memory_format=torch.channels_last)
    return lambda first: tower(**inputs)


def decoder_work(row, mode, sizes, bf16):
    import diffusers
    import torch

    name, class_name, channels = {
        "unet": ("kandinsky22_unet", "UNet2DConditionModel", 4),
        "movq": ("kandinsky22_movq", "VQModel", 4),
        "super-res": ("karlo_super_res_first", "UNet2DModel", 6),
    }[row]
    dtype = torch.bfloat16 if bf16 else torch.float32
    network = built(lambda: getattr(diffusers, class_name).from_config(config_of(name)), dtype)
    network = network.eval().requires_grad_(False)
    layout = torch.contiguous_format if mode == EAGER else torch.channels_last
    network = network.to(memory_format=layout)
    batch, side = sizes["batch"], sizes["side"]
    small, full = (
        torch.randn(batch, channels, s, s, dtype=dtype).contiguous(memory_format=layout) for s in (max(8, side // 4), side)
    )
    z_x = torch.randn(batch, 1280, dtype=dtype)

    def call(first):
        x = small if first else full
        if row == "movq":
            return network.decode(x, force_not_quantize=True)
        if row == "unet":
            return network(x, 500, encoder_hidden_states=None, added_cond_kwargs={"image_embeds": z_x})
        return network(x, 500)

    return call


def peak_work(row, bf16):
    import torch

    if row == "copy":
        source, target = torch.ones(2**26), torch.zeros(2**26)
        return lambda first: target.copy_(source)
    m, k, n = (1024, 1024, 1024) if row == "gemm" else (544, 512, 2048)
    dtype = torch.bfloat16 if bf16 else torch.float32
    a, b = torch.randn(m, k, dtype=dtype), torch.randn(k, n, dtype=dtype)
    return lambda first: a @ b


def torch_call(row, mode, sizes):
    bf16 = mode.startswith("bf16")
    if row in ("step", "infer"):
        return prior_work(row, mode, sizes, bf16)
    if row in ("text-l14", "vision-l14"):
        return tower_work(row, mode, sizes, bf16)
    if row in ("unet", "movq", "super-res"):
        return decoder_work(row, mode, sizes, bf16)
    return peak_work(row, bf16)


def peak_bytes():
    match = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())
    return int(match[1]) * 1024


def operations(row, mode, sizes):
    """Floating-point operations of the row's products and convolutions, from the shapes; nothing is computed."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        call = torch_call(row, mode, sizes)
        with FlopCounterMode(display=False) as counter:
            call(False)
    return counter.get_total_flops()


def worker(request):
    """Times `calls` calls after a first one and prints one line of JSON, as benches/rows does; or counts operations."""
    import contextlib
    import resource

    import torch

    torch.set_num_threads(request["threads"])
    if "count" in request:
        print(json.dumps([operations(*row) for row in request["count"]]))
        return
    row, mode, sizes, calls, threads = (request[key] for key in ("row", "mode", "sizes", "calls", "threads"))
    call = torch_call(row, mode, sizes)
    cpu = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    walls, cpus = [], []
    with contextlib.nullcontext() if row == "step" else torch.inference_mode():
        call(True)
        for _ in range(calls):
            wall, before = time.perf_counter(), cpu()
            call(False)
            walls.append(time.perf_counter() - wall)
            cpus.append(cpu() - before)
    print(json.dumps({"wall": walls, "cpu": cpus, "peak_bytes": peak_bytes(), "threads": threads}))


# --- Measuring ----------------------------------------------------------------------------------------------------


def busy_seconds():
    """CPU seconds that all processes of the machine have used, and those of this process's finished children."""
    fields = [int(x) for x in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    children = os.times()
    return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK"), children.children_user + children.children_system


def wait_until_quiet(limit, seconds=3):
    """Waits until other processes keep fewer than `limit` cores busy."""
    while True:
        before = busy_seconds()[0]
        time.sleep(seconds)
        others = (busy_seconds()[0] - before) / seconds
        if others < limit:
            return
        load = pathlib.Path("/proc/loadavg").read_text().split()[0]
        print(f"waiting: other processes keep {others:.2f} cores busy, the limit is {limit} (load average {load}); --now skips this", file=sys.stderr)


class Machine:
    def __init__(self, args):
        self.args, self.others = args, []
        self.binary = args.binary or self.build()

    @staticmethod
    def build():
        """The bench program, built by cargo."""
        command = ["cargo", "bench", "--bench", "rows", "--no-run", "--message-format=json"]
        lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        messages = [json.loads(line) for line in lines if line.startswith("{")]
        built = [m["executable"] for m in messages if m.get("target", {}).get("name") == "rows" and m.get("executable")]
        return built[-1]

    def process(self, command, threads, attempts=3):
        """The last line of what the command prints. It is run again if other processes disturbed it."""
        environment = os.environ | {
            "RAYON_NUM_THREADS": str(threads),
            "OMP_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": "passive",
            "HF_HUB_OFFLINE": "1",
        }
        start, (busy, own) = time.perf_counter(), busy_seconds()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        seconds, (busy_after, own_after) = time.perf_counter() - start, busy_seconds()
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, command))}\nended with code {done.returncode}:\n{done.stderr.strip()[-2000:]}")
        others = max(0.0, (busy_after - busy - (own_after - own)) / seconds)
        # Ticks of 10 ms on each core make shorter times meaningless.
        if seconds > 1 and others >= self.args.limit and not self.args.now and attempts > 1:
            print(f"measured again: other processes kept {others:.2f} cores busy", file=sys.stderr)
            wait_until_quiet(self.args.limit)
            return self.process(command, threads, attempts - 1)
        if seconds > 1:
            self.others.append(others)
        return json.loads(done.stdout.strip().splitlines()[-1])

    def measure(self, system, row, sizes, calls, threads):
        """One process of `system`."""
        if system == OURS:
            options = [f"--{key}={value}" for key, value in sizes.items()]
            return self.process([self.binary, row, f"--calls={calls}", *options], threads)
        return self.torch(row=row, mode=system, sizes=sizes, calls=calls, threads=threads)

    def operations(self, threads):
        """Single operations, Burn's beside this program's: a table."""
        command = [self.binary, "--operations", "--calls=5"]
        environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
        return subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def torch(self, **request):
        return self.process([self.args.python, __file__, "--worker", json.dumps(request)], request["threads"])


def has_bf16():
    flags = re.search(r"^flags\s*:(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    return bool({"avx512_bf16", "amx_bf16"} & set(flags[1].split())) if flags else False


def described(args, machine):
    """What the table's readers need to know about this run."""
    run = lambda *command: subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.*)$", cpuinfo, re.M)
    flags = set((re.search(r"^flags\s*:(.*)$", cpuinfo, re.M) or ["", ""])[1].split())
    units = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    code = "import torch, diffusers, transformers as t; print(torch.__version__, diffusers.__version__, t.__version__)"
    versions = run(args.python, "-c", code).split("\n")[-1].split()
    return {
        "commit": run("git", "rev-parse", "--short=10", "HEAD") + (" with changes" if run("git", "status", "--porcelain", "-uno") else ""),
        "date": time.strftime("%Y-%m-%d"),
        "cpu": model[1] if model else platform.machine(),
        "units": units,
        "cores": os.cpu_count(),
        "threads": args.threads,
        "versions": dict(zip(("torch", "diffusers", "transformers"), versions)),
        "rustc": run("rustc", "--version"),
        "burn": re.search(r'name = "burn"\nversion = "(.*)"', (ROOT / "Cargo.lock").read_text())[1],
        "others": max(machine.others, default=0.0),
        "limit": args.limit,
    }


def measured(args, machine):
    """Every measurement: {"about": ..., "rows": {row: {"flops": n, "systems": {system: [line, ...]}}}, "peaks": ...}."""
    data = {"rows": {}, "peaks": {}}
    raw = ROOT / "target" / "compare_pytorch.json"
    raw.parent.mkdir(exist_ok=True)

    def save():
        data["about"] = described(args, machine)
        raw.write_text(json.dumps(data, indent=1))

    bf16 = has_bf16()
    usable = lambda modes: [mode for mode in modes if bf16 or not mode.startswith("bf16")]
    quiet = lambda: args.now or wait_until_quiet(args.limit)
    start = time.perf_counter()
    quiet()
    for name, (_, row, modes) in PEAKS.items():
        for threads in sorted({1, args.threads}):
            for system in [OURS, *usable(modes)]:
                lines = data["peaks"].setdefault(name, {}).setdefault(str(threads), {})
                lines[system] = machine.measure(system, row, {}, 10, threads)
    save()
    data["operations"] = machine.operations(args.threads)
    save()
    # The operations that are needed, without padding.
    needed = [(row, modes[1] if PADDED in modes else modes[0], sizes) for _, row, sizes, modes, *_ in map(ROWS.get, args.rows)]
    flops = dict(zip(args.rows, machine.torch(count=needed, threads=args.threads)))
    for name in args.rows:
        _, row, sizes, modes, rounds, calls = ROWS[name]
        rounds, calls = (args.rounds or rounds), (args.calls or calls)
        systems = {system: [] for system in [OURS, *usable(modes)]}
        entry = data["rows"][name] = {"flops": flops[name], "systems": systems}
        for _ in range(rounds):
            quiet()
            for system, lines in entry["systems"].items():
                lines.append(machine.measure(system, row, sizes, calls, args.threads))
                print(f"{time.perf_counter() - start:6.0f} s  {name}, {system}: {statistics.median(lines[-1]['wall']):.3f} s", file=sys.stderr)
        save()
    return data


# --- The tables ---------------------------------------------------------------------------------------------------


def summary(lines):
    """Medians of the processes' medians, and the largest peak."""
    of = lambda key: statistics.median(statistics.median(line[key]) for line in lines)
    return {"wall": of("wall"), "cpu": of("cpu"), "peak": max(line["peak_bytes"] for line in lines), "runs": len(lines)}


def seconds(value):
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def gemm_peak(peaks):
    """The most GFLOP/s in f32 of either, on all threads, at 1024."""
    by_threads = peaks["gemm"]
    systems = by_threads[max(by_threads, key=int)]
    return max(rate("gemm", systems[s]) for s in (OURS, EAGER))


def rate(name, line):
    """GFLOP/s of a product, GB/s of a copy."""
    work = FLOPS.get(name, COPY_BYTES)
    return work / statistics.median(line["wall"]) / 1e9


def short_table(data):
    """One line a row: ours, PyTorch as users run it, PyTorch at its best."""
    lines = [
        "| work | here, s | PyTorch as users run it, s | its best, s | here / as users run it | here / its best |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in data["rows"].items():
        walls = {system: summary(runs)["wall"] for system, runs in row["systems"].items()}
        ours = walls.pop(OURS)
        usual = next(iter(walls.values()))
        best = min(walls, key=walls.get)
        cells = [ROWS[name][0], seconds(ours), seconds(usual), f"{seconds(walls[best])} ({best})", f"{ours / usual:.2f}", f"{ours / walls[best]:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def long_table(data):
    peak = gemm_peak(data["peaks"])
    lines = [
        "| work | system | wall, s | CPU, s | cores busy | peak memory, MB | here / this | share of the peak | runs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in data["rows"].items():
        ours = summary(row["systems"][OURS])["wall"]
        for system, runs in row["systems"].items():
            s = summary(runs)
            share = row["flops"] / s["wall"] / 1e9 / peak
            ratio = "" if system == OURS else f"{ours / s['wall']:.2f}"
            cells = [ROWS[name][0], "here" if system == OURS else f"PyTorch {system}", seconds(s["wall"]), seconds(s["cpu"])]
            cells += [f"{s['cpu'] / s['wall']:.2f}", f"{s['peak'] / 1e6:.0f}", ratio, f"{share:.0%}", str(s["runs"])]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def peak_table(data):
    lines = ["| work | unit | threads | here | PyTorch f32 | PyTorch bf16 |", "|---|---|---|---|---|---|"]
    for name, by_threads in data["peaks"].items():
        for threads, systems in by_threads.items():
            cells = [f"{rate(name, systems[s]):.1f}" if s in systems else "" for s in (OURS, EAGER, HALF)]
            unit = "GFLOP/s" if name in FLOPS else "GB/s"
            lines.append(f"| {PEAKS[name][0]} | {unit} | {threads} | {' | '.join(cells)} |")
    return "\n".join(lines)


def page(data):
    about = data["about"]
    loaded = about["others"] >= about["limit"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    head = [
        "# Beside PyTorch on a CPU",
        "",
        "Written by `just compare-pytorch` ([compare_pytorch.py](compare_pytorch.py)); do not edit.",
        "",
        f"- commit {about['commit']}, {about['date']}",
        f"- CPU: {about['cpu']}, {about['cores']} cores ({', '.join(about['units'])}); {about['threads']} threads each",
        f"- Burn {about['burn']} (flex), {about['rustc']}; {versions}",
        f"- other processes kept at most {about['others']:.2f} cores busy during a run"
        + ("; **loaded machine: not a result**" if loaded else ""),
        "",
        "Processes of both alternate, row by row. A process times its own calls, without its start and its first call (on a smaller image where the row has",
        "one); wall and CPU seconds are medians of the runs' medians, peak memory is the largest resident set of a process. Networks are at their published",
        "sizes with random weights. `OMP_WAIT_POLICY=passive` for PyTorch, whose waiting threads otherwise spin.",
        "",
        short_table(data),
        "",
        "As users run it: f32, eager; captions padded to 77 tokens, and PyTorch's default AdamW. Trimmed: captions at their own length, with fused AdamW. bf16 is",
        "autocast for the prior, and weights and values of bf16 elsewhere, channels-last. Here everything is f32.",
        "",
        "## All systems",
        "",
        long_table(data),
        "",
        f"Share of the peak: operations of matrix products and convolutions, counted from the shapes without padding, a second, of the {gemm_peak(data['peaks']):.0f} GFLOP/s that",
        "the faster of the two reaches in f32 products of 1024 x 1024. In bf16, or where a convolution needs fewer operations than its formula (Winograd) or a",
        "step leaves out rows that nothing reads, it may pass 100 %.",
        "",
        "## Single operations",
        "",
        "Operations for which this program has kernels of its own, beside those of Burn's flex backend, in turns in one process; medians of 5. Both include a copy",
        "of the input, so that an operation may work in place. Convolutions here are Winograd's for large images, one matrix product for few small ones, Burn's for many.",
        "",
        data["operations"],
        "",
        "## The machine",
        "",
        peak_table(data),
        "",
    ]
    return "\n".join(head)


def quoted(docs, table):
    """`docs` with `table` between the marks."""
    before, rest = docs.split(MARKS[0], 1)
    after = rest.split(MARKS[1], 1)[1]
    return f"{before}{MARKS[0]}\n\n{table}\n\n{MARKS[1]}{after}"


def self_test():
    line = lambda wall, cpu, peak: {"wall": wall, "cpu": cpu, "peak_bytes": peak}
    product = lambda gflops: line([2 * 1024**3 / gflops / 1e9], [1.0], 1)
    data = {
        "operations": "| operation |",
        "about": dict(commit="abc", date="2026-01-01", cpu="CPU", units=["avx2"], cores=2, threads=2, versions={"torch": "1"},
                      rustc="rustc", burn="0", others=0.01, limit=0.2),
        "peaks": {"gemm": {"1": {OURS: product(50), EAGER: product(60)}, "2": {OURS: product(100), EAGER: product(90), HALF: product(300)}},
                  "copy": {"2": {OURS: line([COPY_BYTES / 1e10], [1.0], 1), EAGER: line([COPY_BYTES / 2e10], [1.0], 1)}}},
        "rows": {"step": {"flops": 20e9, "systems": {
            OURS: [line([0.9, 0.5, 0.4], [1.0, 0.9, 0.8], 5_000_000), line([0.7], [1.2], 7_000_000), line([8.0], [9.0], 6_000_000)],
            PADDED: [line([2.8], [5.6], 9_000_000)],
            TRIMMED: [line([0.35], [0.7], 8_000_000)]}}},
    }
    ours = summary(data["rows"]["step"]["systems"][OURS])
    assert ours == {"wall": 0.7, "cpu": 1.2, "peak": 7_000_000, "runs": 3}, ours
    assert abs(gemm_peak(data["peaks"]) - 100) < 1e-9
    assert short_table(data).splitlines()[2] == (
        f"| training step, batch 32, 14 tokens | 0.700 | 2.80 | 0.350 ({TRIMMED}) | 0.25 | 2.00 |"), short_table(data)
    assert long_table(data).splitlines()[2:] == [
        "| training step, batch 32, 14 tokens | here | 0.700 | 1.20 | 1.71 | 7 |  | 29% | 3 |",
        f"| training step, batch 32, 14 tokens | PyTorch {PADDED} | 2.80 | 5.60 | 2.00 | 9 | 0.25 | 7% | 1 |",
        f"| training step, batch 32, 14 tokens | PyTorch {TRIMMED} | 0.350 | 0.700 | 2.00 | 8 | 2.00 | 57% | 1 |"], long_table(data)
    assert peak_table(data).splitlines()[3:] == [
        "| product of 1024 x 1024 | GFLOP/s | 2 | 100.0 | 90.0 | 300.0 |", "| copy of 256 MiB | GB/s | 2 | 10.0 | 20.0 |  |"], peak_table(data)
    assert "loaded machine" not in page(data)
    data["about"]["others"] = 0.2
    assert "loaded machine" in page(data)
    assert quoted(f"a\n{MARKS[0]}\nold\n{MARKS[1]}\nb", "T") == f"a\n{MARKS[0]}\n\nT\n\n{MARKS[1]}\nb"
    for name in ["eclipse_karlo_prior", "clip_l14_text", "clip_l14_vision", "kandinsky22_unet", "kandinsky22_movq", "karlo_super_res_first"]:
        assert config_of(name), name
    for name, (_, row, sizes, modes, *_) in ROWS.items():
        assert row.startswith(name.split("-")[0]) and modes and all(value > 0 for value in sizes.values())
    print("self-test passed")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default=",".join(ROWS), type=lambda text: text.split(","), help=f"some of: {', '.join(ROWS)}")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--python", default=sys.executable, help="the Python that has benches/requirements.txt")
    parser.add_argument("--binary", help="the bench program, already built")
    parser.add_argument("--rounds", type=int, help="processes of each system a row, instead of the row's own number")
    parser.add_argument("--calls", type=int, help="timed calls a process, instead of the row's own number")
    parser.add_argument("--now", action="store_true", help="do not wait for a quiet machine")
    parser.add_argument("--limit", type=float, default=0.2, help="cores that other processes may keep busy")
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--from", dest="source", type=pathlib.Path, help="only write the page, from a former run's target/compare_pytorch.json")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args.worker)
    if args.self_test:
        return self_test()
    unknown = [row for row in args.rows if row not in ROWS]
    if unknown:
        parser.error(f"--rows: unknown: {', '.join(unknown)}; known: {', '.join(ROWS)}")
    if args.source:
        data = json.loads(args.source.read_text())
    else:
        check = subprocess.run([args.python, "-c", "import torch, diffusers, transformers"], capture_output=True, text=True)
        if check.returncode != 0:
            parser.error(f"{args.python} lacks benches/requirements.txt: {check.stderr.strip().splitlines()[-1]}; name another Python with --python")
        data = measured(args, Machine(args))
    text = page(data)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.out.resolve() == RESULTS and "loaded machine" in text:
        args.out = RESULTS.with_name("RESULTS-loaded.md")
    args.out.write_text(text)
    if args.out.resolve() == RESULTS:
        DOCS.write_text(quoted(DOCS.read_text(), short_table(data)))
    print(f"the table: {args.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
