//! Single operations at the sizes that networks have them: Burn's own beside this program's, in turns in one process.

use burn::nn::conv::Conv2dConfig;
use burn::nn::{GroupNormConfig as BurnGroupNormConfig, PaddingConfig2d};
use burn::prelude::*;
use burn::tensor::{activation, module, ops::AttentionModuleOptions};
use eclipse_t2i::nn::{Activation, Conv3x3, GroupNormConfig, attention};
use eclipse_t2i::noise::Noise;

use super::measure::{median, timed};

type Call = Box<dyn Fn() -> Tensor<1>>;

/// Burn's operation, and ours.
struct Pair {
    name: String,
    burn: Call,
    ours: Call,
}

/// Measures every operation so many times and returns a table of medians: milliseconds, and cores busy.
pub fn table(device: &Device, calls: usize, tiny: bool) -> anyhow::Result<String> {
    let mut table = String::from(
        "| operation | Burn, ms | cores busy | here, ms | cores busy | ratio |\n|---|---|---|---|---|---|\n",
    );
    for pair in pairs(device, tiny) {
        let mut times = [(); 4].map(|()| Vec::new());
        for call in 0..=calls {
            for (i, work) in [&pair.burn, &pair.ours].into_iter().enumerate() {
                let (wall, cpu) = timed(device, || drop(work()))?;
                // The first call is not counted.
                if call > 0 {
                    times[2 * i].push(wall);
                    times[2 * i + 1].push(cpu);
                }
            }
        }
        let [wall, cpu, our_wall, our_cpu] = times.map(median);
        let row = format!(
            "| {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.2} |\n",
            pair.name,
            wall * 1e3,
            cpu / wall,
            our_wall * 1e3,
            our_cpu / our_wall,
            our_wall / wall
        );
        eprint!("{row}");
        table += &row;
    }
    Ok(table)
}

fn pairs(device: &Device, tiny: bool) -> Vec<Pair> {
    let mut noise = Noise::new(1);
    let mut pairs = Vec::new();
    let small = |n: usize| if tiny { n.min(16) } else { n };
    for [batch, seq, d] in [[8, 257, 4096], [32, 77, 3072]] {
        let x: Tensor<3> = noise.normal([batch, small(seq), d], device);
        let name = format!("quick GELU, {batch} x {seq} x {d}");
        let plain = |x: Tensor<3>| x.clone() * activation::sigmoid(x.mul_scalar(1.702));
        pairs.push(pair(name, x, plain, |x| Activation::QuickGelu.forward(x)));
    }
    for [batch, channels, side] in [[2, 384, 64], [1, 128, 512]] {
        let x: Tensor<4> = noise.normal([batch, channels, small(side), small(side)], device);
        let size = format!("{batch} x {channels} x {side} x {side}");
        pairs.push(pair(format!("SiLU, {size}"), x.clone(), activation::silu, |x| {
            Activation::Silu.forward(x)
        }));
        let burn = BurnGroupNormConfig::new(32, channels).init(device);
        let ours = GroupNormConfig::new(32, channels, 1e-5).init(device);
        pairs.push(pair(
            format!("group norm with SiLU, {size}"),
            x,
            move |x| activation::silu(burn.forward(x)),
            move |x| ours.forward_silu(x),
        ));
    }
    for [batch, heads, seq, d_head] in [[8, 16, 257, 64], [2, 12, 1024, 64], [1, 1, 4096, 512]] {
        let x: Tensor<4> = noise.normal([batch, heads, small(seq), d_head], device);
        let name = format!("attention, {batch} x {heads} heads x {seq} tokens x {d_head}");
        let plain = |x: Tensor<4>| {
            module::attention(
                x.clone(),
                x.clone(),
                x,
                None,
                None,
                AttentionModuleOptions::default(),
            )
        };
        pairs.push(pair(name, x, plain, |x| attention(x.clone(), x.clone(), x, None)));
    }
    for [batch, channels, side] in [
        [64, 64, 8],
        [1, 96, 8],
        [1, 1536, 8],
        [1, 1152, 16],
        [2, 768, 32],
        [2, 384, 64],
        [1, 512, 64],
        [1, 320, 256],
        [1, 128, 512],
    ] {
        let x: Tensor<4> = noise.normal([batch, channels, small(side), small(side)], device);
        let config = Conv2dConfig::new([channels, channels], [3, 3]);
        let burn = config
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .init(device);
        let ours = Conv3x3::init([channels, channels], device);
        let name = format!("convolution 3 x 3, {batch} x {channels} x {side} x {side}");
        pairs.push(pair(name, x, move |x| burn.forward(x), move |x| ours.forward(x)));
    }
    pairs
}

fn pair<const D: usize>(
    name: String,
    x: Tensor<D>,
    burn: impl Fn(Tensor<D>) -> Tensor<D> + 'static,
    ours: impl Fn(Tensor<D>) -> Tensor<D> + 'static,
) -> Pair {
    // A value nobody else refers to, as inside a network: operations may work in place. Both pay for the copy.
    let fresh = move |x: &Tensor<D>| x.clone().add_scalar(0.0);
    let (copy, again) = (x.clone(), fresh);
    Pair {
        name,
        burn: Box::new(move || burn(fresh(&x)).flatten::<1>(0, D - 1).narrow(0, 0, 1)),
        ours: Box::new(move || ours(again(&copy)).flatten::<1>(0, D - 1).narrow(0, 0, 1)),
    }
}
