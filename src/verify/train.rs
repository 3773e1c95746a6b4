//! `train`: the ECLIPSE objective, every gradient, and three optimiser steps, by the training code itself.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::optim::lr_scheduler::LrScheduler;
use burn::prelude::*;
use burn::train::TrainStep;
use serde::Deserialize;

use super::{Array, Computed, Context, Outcome, Tolerance};
use crate::models::prior::{MAPPING, Prior, TextCondition};
use crate::objective::contrastive::Negatives;
use crate::train::micro_batches::MicroBatches;
use crate::train::objectives::eclipse::{Eclipse, EclipseBatch, EclipseTrainer};
use crate::train::schedule::{LrSchedule, SteppedLr};
use crate::train::trainer::{AdamWOptions, Trainer, UpdateOptions};
use crate::weights::{Parameter, parameters};

/// The golden's hyper-parameters.
#[derive(Deserialize)]
struct Hyper {
    lr: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    #[serde(rename = "T_0")]
    t_0: usize,
    #[serde(rename = "T_mult")]
    t_mult: usize,
    eta_min: f64,
    tau: f64,
    lam: f64,
}

pub(super) fn run(context: &Context) -> Outcome {
    let hyper: Hyper = context.info_as("hyper")?;
    let device = context.device().clone().autodiff();
    let dir = context.folder_named("eclipse_prior")?;
    let trainer = |lambda: f64, tau: f64| -> Result<EclipseTrainer, crate::weights::WeightsError> {
        let eclipse = Eclipse {
            lambda,
            ..Eclipse::default()
        };
        let (config, prior) = Prior::load(&dir, &device)?;
        let blank = || Prior::init(&config, &device);
        Ok(Trainer::new(
            prior,
            eclipse.criterion(tau),
            UpdateOptions::default(),
            blank,
        ))
    };
    let batch = |k: usize| -> Result<EclipseBatch, super::FixtureError> {
        let float = |name: &str| -> Result<Tensor<2>, super::FixtureError> {
            Ok(Tensor::from_inner(context.float(&format!("batch{k}.{name}"))?).to_device(&device))
        };
        let mask = context.int::<2>(&format!("batch{k}.mask"))?.float();
        let text = TextCondition {
            z_y: float("text_embeds")?,
            tokens: Tensor::from_inner(context.float(&format!("batch{k}.text_hidden"))?).to_device(&device),
            mask: Some(Tensor::from_inner(mask).to_device(&device).into()),
        };
        Ok(EclipseBatch {
            eps: float("noise")?,
            z_x: float("target")?,
            text,
            negatives: Negatives::default(),
        })
    };

    let mut out = Vec::new();
    let taus: Vec<String> = context
        .golden()
        .keys()
        .filter_map(|name| {
            name.strip_prefix("tau")?
                .strip_suffix(".loss_total")
                .map(String::from)
        })
        .collect();
    for tau in &taus {
        let trainer = trainer(hyper.lam, tau.parse()?)?;
        let (z_x_hat, loss) = trainer.loss(batch(0)?);
        let contrastive = loss.contrastive.ok_or("the contrastive term was not computed")?;
        out.push(Computed::tensor(
            format!("tau{tau}.pred"),
            z_x_hat.inner(),
            Tolerance::Float,
        ));
        for (name, value) in [
            ("proj", loss.projection),
            ("cls", contrastive),
            ("total", loss.total),
        ] {
            let value = value.inner().into_data().iter::<f32>().collect();
            out.push(Computed::new(
                format!("tau{tau}.loss_{name}"),
                Array::f32([], value),
                Tolerance::Float,
            ));
        }
        // Gradients as a training step makes them.
        let grads = trainer.step(MicroBatches::one(1, batch(0)?)).grads;
        out.extend(named(trainer.network(), Some(&grads), &format!("tau{tau}.grad.")));
    }
    // Each term alone, so that a wrong sign or weight shows which.
    let head = "proj_to_clip_embeddings.weight";
    let projection = trainer(0.0, hyper.tau)?;
    let grads = projection.step(MicroBatches::one(1, batch(0)?)).grads;
    out.extend(
        named(projection.network(), Some(&grads), "proj_only.grad.")
            .into_iter()
            .filter(|c| c.name.ends_with(head)),
    );
    let both = trainer(hyper.lam, hyper.tau)?;
    let contrastive = both
        .loss(batch(0)?)
        .1
        .contrastive
        .ok_or("the contrastive term was not computed")?;
    let grads = GradientsParams::from_grads(contrastive.backward(), &both);
    out.extend(
        named(both.network(), Some(&grads), "cls_only.grad.")
            .into_iter()
            .filter(|c| c.name.ends_with(head)),
    );

    let adamw = AdamWOptions {
        betas: hyper.betas,
        eps: hyper.eps,
        weight_decay: hyper.weight_decay,
    };
    let mut optimizer = adamw.init();
    let schedule = LrSchedule::Sgdr {
        lr: hyper.lr,
        warmup: 0,
        t_0: hyper.t_0,
        t_mult: hyper.t_mult,
        eta_min: hyper.eta_min,
    };
    let mut schedule = SteppedLr::new(schedule.check()?);
    let mut trainer = trainer(hyper.lam, hyper.tau)?;
    let (mut rates, mut losses) = (Vec::new(), Vec::new());
    for k in 0..3 {
        let lr = schedule.step();
        losses.push(trainer.loss(batch(k)?).1.total.inner().into_scalar::<f32>());
        let grads = trainer.step(MicroBatches::one(k + 1, batch(k)?)).grads;
        trainer = trainer.optimize(&mut optimizer, lr.into(), grads);
        rates.push(lr);
    }
    // The softmax does not see key biases: their gradients are rounding noise, which Adam turns into whole steps of either sign.
    let reach = 2.0 * rates.iter().sum::<f64>();
    out.extend(
        named(trainer.network(), None, "after3.")
            .into_iter()
            .map(|mut c| {
                if c.name.ends_with(".to_k.bias") {
                    c.tolerance = Tolerance::Reach(reach);
                }
                c
            }),
    );
    out.push(Computed::new(
        "lrs",
        Array::f64([rates.len()], rates),
        Tolerance::Rate,
    ));
    out.push(Computed::new(
        "step_losses",
        Array::f32([losses.len()], losses),
        Tolerance::Float,
    ));
    Ok(out)
}

/// Every parameter of `prior`, or its gradient where it has one, in published name and layout.
fn named(prior: &Prior, grads: Option<&GradientsParams>, prefix: &str) -> Vec<Computed> {
    let names = parameters(prior, &MAPPING).into_iter();
    let mut visitor = Named {
        names,
        grads,
        prefix,
        out: Vec::new(),
    };
    prior.visit(&mut visitor);
    visitor.out
}

struct Named<'a> {
    names: std::vec::IntoIter<Parameter>,
    grads: Option<&'a GradientsParams>,
    prefix: &'a str,
    out: Vec<Computed>,
}

impl ModuleVisitor for Named<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(parameter) = self.names.next() else {
            return;
        };
        let value = match self.grads {
            Some(grads) => grads.get::<D>(param.id),
            None => Some(param.val().inner()),
        };
        let Some(value) = value else { return };
        let value = if parameter.transposed {
            value.swap_dims(0, 1)
        } else {
            value
        };
        let name = format!("{}{}", self.prefix, parameter.name);
        self.out.push(Computed::tensor(name, value, Tolerance::Float));
    }
}
