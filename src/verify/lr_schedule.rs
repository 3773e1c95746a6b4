//! `lr_schedule`: cosine annealing with warm restarts, as torch tabulates it.

use super::{Array, Computed, Context, Outcome, Tolerance};
use crate::train::schedule::LrSchedule;

pub(super) fn run(context: &Context) -> Outcome {
    let mut out = Vec::new();
    for (name, reference) in context.golden() {
        // The name holds the parameters: T0_7.Tmult_2.etamin_1e-06.lr_0.001. Numbers may hold dots, so cut at the words.
        let value = |from: &str, to: &str| -> Result<&str, String> {
            let rest = name.split_once(from).map(|(_, rest)| rest);
            let value = if to.is_empty() {
                rest
            } else {
                rest.and_then(|r| r.split_once(to)).map(|(v, _)| v)
            };
            value.ok_or_else(|| format!("{name}: no value after {from}"))
        };
        let schedule = LrSchedule::Sgdr {
            t_0: value("T0_", ".Tmult_")?.parse()?,
            warmup: 0,
            t_mult: value(".Tmult_", ".etamin_")?.parse()?,
            eta_min: value(".etamin_", ".lr_")?.parse()?,
            lr: value(".lr_", "")?.parse()?,
        }
        .check()?;
        let steps = reference.shape.first().copied().unwrap_or(0);
        let rates = (0..steps).map(|step| schedule.lr(step)).collect();
        // Rates are small: the table's 1e-6 would let a rate of 1e-5 be off by a tenth.
        out.push(Computed::new(name, Array::f64([steps], rates), Tolerance::Rate));
    }
    Ok(out)
}
