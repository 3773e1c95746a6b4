//! `scheduler_*`: tables, timesteps, `add_noise`, and whole trajectories with recorded network outputs and noise.

use burn::prelude::*;

use super::{Array, Computed, Context, Outcome, Tolerance};
use crate::diffusion::{Replay, SampleOptions, Scheduler, SchedulerConfig, sample};

pub(super) fn run(context: &Context) -> Outcome {
    let mut json = context.info("config")?.clone();
    json["_class_name"] = context.info("scheduler")?.clone();
    let scheduler = Scheduler::new(SchedulerConfig::from_json(&json, context.root())?);
    let mut out = Vec::new();

    let schedule = scheduler.schedule();
    for (name, table) in [
        ("betas", schedule.betas()),
        ("alphas_cumprod", schedule.alphas_cumprod()),
    ] {
        let values = table.iter().map(|&x| x as f32).collect();
        out.push(Computed::new(
            name,
            Array::f32([table.len()], values),
            Tolerance::Table,
        ));
    }
    let names: Vec<&String> = context.golden().keys().collect();
    for name in names.iter().filter_map(|n| n.strip_prefix("timesteps.")) {
        out.push(timesteps(&scheduler, format!("timesteps.{name}"), name.parse()?)?);
    }
    match context.input("add_noise.x0")?.shape.len() {
        2 => out.push(add_noise::<2>(context, &scheduler)?),
        _ => out.push(add_noise::<4>(context, &scheduler)?),
    }
    for run in names.iter().filter_map(|n| n.strip_suffix(".samples")) {
        // The name of a run is n<steps>.eta<eta>.
        let (n_steps, eta) = run
            .split_once(".eta")
            .ok_or_else(|| format!("{run}: not n<steps>.eta<eta>"))?;
        let n_steps = n_steps.trim_start_matches('n').parse()?;
        let options = SampleOptions {
            n_steps,
            eta: eta.parse()?,
        };
        out.push(timesteps(&scheduler, format!("{run}.timesteps"), n_steps)?);
        // The golden stacks the steps: one axis more than a sample has.
        match context.input(&format!("{run}.noise"))?.shape.len() {
            3 => out.extend(trajectory::<2, 3>(context, &scheduler, run, options)?),
            _ => out.extend(trajectory::<4, 5>(context, &scheduler, run, options)?),
        }
    }
    Ok(out)
}

fn timesteps(
    scheduler: &Scheduler,
    name: String,
    n_steps: usize,
) -> Result<Computed, Box<dyn std::error::Error + Send + Sync>> {
    let t: Vec<i64> = scheduler
        .timesteps(n_steps)?
        .into_iter()
        .map(|t| t as i64)
        .collect();
    Ok(Computed::new(name, Array::i64([t.len()], t), Tolerance::Exact))
}

fn add_noise<const D: usize>(
    context: &Context,
    scheduler: &Scheduler,
) -> Result<Computed, super::FixtureError> {
    let t: Vec<usize> = context
        .whole_numbers("add_noise.t")?
        .into_iter()
        .map(|t| t as usize)
        .collect();
    let (x0, eps) = (
        context.float::<D>("add_noise.x0")?,
        context.float("add_noise.noise")?,
    );
    let noisy = scheduler.schedule().add_noise(x0, eps, &t);
    Ok(Computed::tensor("add_noise.out", noisy, Tolerance::Scaled(1.0)))
}

/// Samples with the production loop, replaying the network's outputs and the noise; `S` is `D + 1`.
fn trajectory<const D: usize, const S: usize>(
    context: &Context,
    scheduler: &Scheduler,
    run: &str,
    options: SampleOptions,
) -> Outcome {
    let steps = |name: &str| -> Result<Vec<Tensor<D>>, super::FixtureError> {
        let stacked = context.float::<S>(&format!("{run}.{name}"))?;
        Ok((0..stacked.dims()[0])
            .map(|i| stacked.clone().narrow(0, i, 1).squeeze_dim(0))
            .collect())
    };
    let outputs = steps("model_outputs")?;
    let start = steps("samples")?.swap_remove(0);
    let visits = scheduler.visits(options.n_steps)?;
    if outputs.len() != visits.len() {
        return Err(format!(
            "{run}: {} model outputs for {} steps",
            outputs.len(),
            visits.len()
        )
        .into());
    }
    // Steps that draw nothing have zeros in the golden.
    let drawn = steps("noise")?.into_iter().zip(&visits);
    let drawn = drawn
        .filter(|(_, visit)| scheduler.draws_noise(**visit, options.eta))
        .map(|(noise, _)| noise);
    let mut replay = Replay::new(drawn);
    let mut queue = outputs.into_iter();
    let mut samples = vec![start.clone()];
    let mut clean = Vec::new();
    sample(
        scheduler,
        start,
        options,
        |_, _| queue.next().expect("as many outputs as steps, checked above"),
        &mut replay,
        |_, _, stepped| {
            samples.push(stepped.x_prev.clone());
            clean.push(stepped.x0.clone());
        },
    )?;
    let scaled = |name: String, tensors: Vec<Tensor<D>>| {
        let size = context.golden().get(&name).map_or(1.0, Array::max_abs);
        Computed::tensor(name, Tensor::stack::<S>(tensors, 0), Tolerance::Scaled(size))
    };
    Ok(vec![
        scaled(format!("{run}.samples"), samples),
        scaled(format!("{run}.pred_x0"), clean),
    ])
}
