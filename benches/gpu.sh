#!/usr/bin/env bash
# What a GPU does with this program: devices, reference numbers, the training step, CLIP's towers, a UNet step, encoding, whole images, memory, and the same
# work in PyTorch if it is installed. One table with ratios, in benches/RESULTS-gpu.md.
#
#   benches/gpu.sh [--device cuda] [--binary PATH] [--tiny] [--out FILE] [--limit SECONDS] [--again]
#
# Neither Cargo nor the internet is needed: --binary (or ECLIPSE_BINARY) names a program built elsewhere; else target/release/eclipse is taken.
# Every part has a time limit (--limit, 90 s by default; a first part compiles kernels). A part that is done is not repeated: its result lies in
# target/gpu/DEVICE; --again starts over. --tiny: a few layers and pairs, to try the script out on any device, software ones included.
set -uo pipefail
cd "$(dirname "$0")/.."

device=cuda binary=${ECLIPSE_BINARY:-target/release/eclipse} tiny="" out=benches/RESULTS-gpu.md limit=90 again=""
while [ $# -gt 0 ]; do
    case $1 in
        --device) device=$2; shift ;;
        --binary) binary=$2; shift ;;
        --out) out=$2; shift ;;
        --limit) limit=$2; shift ;;
        --tiny) tiny=--tiny ;;
        --again) again=1 ;;
        *) echo "unknown argument $1: see the head of $0" >&2; exit 2 ;;
    esac
    shift
done
[ -x "$binary" ] || { echo "$binary: no such program: build with --features cuda, or name one with --binary" >&2; exit 2; }
parts=target/gpu/${device//:/_}${tiny:+-tiny}
[ -z "$again" ] || rm -rf "$parts"
mkdir -p "$parts"

# part NAME COMMAND...: runs the command with the time limit, once. Its output lies in $parts/NAME.
part() {
    local name=$1 code start=$SECONDS
    shift
    if [ -s "$parts/$name" ]; then echo "   $name: done before" >&2; return 0; fi
    timeout --kill-after=10 "$limit" "$@" > "$parts/$name.part" 2> "$parts/$name.log"
    code=$?
    if [ $code -eq 0 ]; then
        mv "$parts/$name.part" "$parts/$name"
        [ -s "$parts/$name" ] || echo done > "$parts/$name"
        rm -f "$parts/$name.failed"
        echo "   $name: $((SECONDS - start)) s" >&2
    else
        local why="exit code $code: $(tail -n 1 "$parts/$name.log")"
        [ $code -ne 124 ] && [ $code -ne 137 ] || why="not done after $limit s"
        echo "$why" > "$parts/$name.failed"
        echo "   $name: $why" >&2
    fi
    return 0
}
eclipse() { part "$1" "$binary" --device "$device" "${@:2}"; }

if [ -n "$tiny" ]; then pairs=4 images=1 captions=4 n_world=32 dtypes="f32" modes="f32"; else pairs=256 images=128 captions=512 n_world=20000 dtypes="f32 bf16" modes="f32 tf32 bf16"; fi
bigg=$((images / 4 > 0 ? images / 4 : 1))

echo "== device and reference numbers" >&2
part devices "$binary" devices
eclipse verify verify tests/golden/karlo-micro-s0
eclipse warm-check dev check-device

# The memory that the card has in use, sampled while the measurements run.
peak=$parts/memory
if command -v nvidia-smi >/dev/null 2>&1; then
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 500 >> "$peak" 2>/dev/null &
    watcher=$!
    trap 'kill "$watcher" 2>/dev/null' EXIT
fi

echo "== training step" >&2
for tokens in 14 6 30 77; do
    for dtype in $dtypes; do
        eclipse "step-$tokens-$dtype" dev measure step --batch $pairs --tokens $tokens --dtype "$dtype" $tiny
    done
done
echo "== towers and UNet" >&2
for dtype in $dtypes; do
    eclipse "vision-l14-$dtype" dev measure vision-l14 --batch $images --dtype "$dtype" $tiny
    eclipse "text-l14-$dtype" dev measure text-l14 --batch $captions --tokens 14 --dtype "$dtype" $tiny
    eclipse "vision-bigg14-$dtype" dev measure vision-bigg14 --batch $bigg --dtype "$dtype" $tiny
    eclipse "unet-$dtype" dev measure unet --batch 2 --repeat 10 --dtype "$dtype" $tiny
done
echo "== encoding and whole images" >&2
rm -rf "$parts/store" "$parts/drawn"
eclipse encode encode --clip datasets/emoji/clip --pairs "world:emoji?n=$n_world" --out "$parts/store" --batch 256 --profile --json
eclipse draw generate --pipeline datasets/emoji/decoder --prior experiments/table1/smoke/eclipse --clip datasets/emoji/clip \
    --prompt "a red car and a blue dog" --images 4 --out "$parts/drawn"

if [ -z "${ECLIPSE_NO_TORCH:-}" ] && python3 -c 'import torch' 2>/dev/null; then
    echo "== PyTorch" >&2
    for mode in $modes; do
        for tokens in 14 6 30 77; do
            part "torch-step-$tokens-$mode" python3 benches/gpu_torch.py step --batch $pairs --tokens $tokens --mode $mode $tiny
        done
        part "torch-vision-l14-$mode" python3 benches/gpu_torch.py vision-l14 --batch $images --mode $mode $tiny
        part "torch-text-l14-$mode" python3 benches/gpu_torch.py text-l14 --batch $captions --mode $mode $tiny
        part "torch-vision-bigg14-$mode" python3 benches/gpu_torch.py vision-bigg14 --batch $bigg --mode $mode $tiny
        part "torch-unet-$mode" python3 benches/gpu_torch.py unet --batch 2 --repeat 10 --mode $mode $tiny
    done
fi

python3 - "$parts" "$device" "$tiny" "$("$binary" --version)" > "$out.part" <<'PY' && mv "$out.part" "$out" && echo "the table: $out" >&2
import json, pathlib, subprocess, sys

parts, device, tiny, version = pathlib.Path(sys.argv[1]), *sys.argv[2:5]


def run(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def part(name):
    file = parts / name
    try:
        return json.loads(file.read_text()) if file.exists() else None
    except ValueError:
        return None


def why(name):
    failed = parts / f"{name}.failed"
    return failed.read_text().strip()[:120] if failed.exists() else "not run"


card = run("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader") or "no nvidia-smi"
print("# What a GPU does with this program\n\nWritten by `benches/gpu.sh`; times are medians after the first two calls.\n")
print(f"- device `{device}`; card: {card}\n- program: {version}{'; **tiny sizes**: a test of the script, no measurement' if tiny else ''}")
for name in ["verify", "warm-check", "encode", "draw"]:
    state = "passed" if (parts / name).exists() else f"failed: {why(name)}"
    print(f"- {name}: {state}")
memory = parts / "memory"
if memory.exists() and memory.read_text().strip():
    print(f"- most memory in use on the card: {max(map(int, memory.read_text().split()))} MiB")
print("\n| work | dtype | batch | first call, s | ms | per second | launches | PyTorch f32 | TF32 | bf16 |")
print("|---|---|---|---|---|---|---|---|---|---|")
rows = []
for dtype in ("f32", "bf16"):
    rows += [(f"step, {t} tokens", f"step-{t}-{dtype}", f"step-{t}", dtype) for t in (6, 14, 30, 77)]
    rows += [(w, f"{w}-{dtype}", w, dtype) for w in ("vision-l14", "text-l14", "vision-bigg14", "unet")]
for label, name, torch, dtype in rows:
    ours = part(name)
    if ours is None:
        if (parts / f"{name}.failed").exists():
            print(f"| {label} | {dtype} | | | {why(name)} | | | | | |")
        continue
    others = [part(f"torch-{torch}-{mode}") for mode in ("f32", "tf32", "bf16")]
    cells = ["" if o is None else f"{o['ms']:.1f} ({ours['ms'] / o['ms']:.1f}x)" for o in others]
    print(f"| {label} | {dtype} | {ours['batch']} | {ours['first_s']:.1f} | {ours['ms']:.1f} | {ours['per_second']:.0f} | {ours['launches']} | "
          + " | ".join(cells) + " |")
print("\nThe columns of PyTorch: milliseconds, and our time divided by PyTorch's.")
encode = part("encode")
if encode and "stages" in encode:
    rate = encode["encoded_now"] / encode["seconds"]
    print(f"\n`encode` with the emoji world's CLIP, {rate:.0f} pairs a second; seconds by stage:\n\n| stage | seconds |\n|---|---|")
    for stage, seconds in encode["stages"].items():
        print(f"| {stage} | {seconds:.2f} |")
PY
