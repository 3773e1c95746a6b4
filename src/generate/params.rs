//! How many parameters a pipeline has: by the paper's accounting, which counts the prior and the base decoder, and in full.
//!
//! Headers of weight files and configurations are read, no weights. Statistics of CLIP's embeddings that priors store (`clip_mean`, `clip_std`), integer
//! buffers and CLIP's `logit_scale` are not counted.

use std::path::Path;

use burn::prelude::*;
use safetensors::Dtype;
use serde::Serialize;

use super::layout::PipelineLayout;
use super::parts::{LayoutError, Part};
use super::stacks::random::{PRIOR, RandomNetwork, RandomStack};
use super::stacks::{self, Stack};
use crate::weights::{Checkpoint, WeightsError};

/// The parameters of a system: a stack with a prior.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParamCounts {
    /// The stack, and for published systems the prior.
    pub system: String,
    /// Its networks.
    pub components: Vec<ComponentParams>,
}

/// A network of a system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComponentParams {
    /// The part's name in side files.
    pub name: &'static str,
    /// Its parameters; none where its weights are not in the folders.
    pub n: Option<usize>,
    /// Whether the paper counts it.
    pub in_paper_total: bool,
}

/// Parameters cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum ParamsError {
    /// A part that the paper counts is absent.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Weights cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl ParamCounts {
    /// Counts the networks of a pipeline in the headers of their weight files. Those that the paper does not count may be absent.
    ///
    /// # Errors
    /// [`ParamsError::Layout`] without a prior or base decoder, [`ParamsError::Weights`] for weights that cannot be read.
    pub fn of(layout: &PipelineLayout) -> Result<Self, ParamsError> {
        let stack = layout.stack();
        let mut components = Vec::new();
        for part in networks(stack) {
            let in_paper_total = is_in_paper_total(stack, part);
            let stored = layout
                .part(part)
                .map_err(ParamsError::from)
                .and_then(|dir| Ok(count_stored(dir, part)?));
            let n = match stored {
                Ok(n) => Some(n),
                Err(
                    ParamsError::Layout(LayoutError::Missing { .. })
                    | ParamsError::Weights(WeightsError::NoWeights { .. }),
                ) if !in_paper_total => None,
                Err(error) => return Err(error),
            };
            components.push(ComponentParams {
                name: part.name(),
                n,
                in_paper_total,
            });
        }
        Ok(Self {
            system: stack.about().name.to_owned(),
            components,
        })
    }

    /// The published stacks with each of their priors, at full size: counted from configurations, without weights.
    pub fn published(device: &Device) -> Vec<Self> {
        let stacks = stacks::ALL
            .iter()
            .filter_map(|stack| Some((*stack, stack.random()?)));
        let systems = stacks.flat_map(|(stack, random)| {
            let priors = random.networks.iter().filter(|network| network.class == PRIOR);
            priors.map(move |prior| Self::published_with(stack, &random, prior, device))
        });
        systems.collect()
    }

    fn published_with(stack: Stack, random: &RandomStack, prior: &RandomNetwork, device: &Device) -> Self {
        let component = |part: Part| {
            let network = match part {
                Part::PRIOR => Some(prior),
                _ => random
                    .networks
                    .iter()
                    .find(|network| random.part(stack, network) == Some(part)),
            };
            ComponentParams {
                name: part.name(),
                n: network.map(|network| count_described(network, device)),
                in_paper_total: is_in_paper_total(stack, part),
            }
        };
        Self {
            system: format!("{}, {}", stack.about().name, prior.name),
            components: networks(stack).into_iter().map(component).collect(),
        }
    }

    /// Parameters of the prior and the base decoder: "total" in the paper's Table 1 and Figure 1.
    pub fn paper_total(&self) -> usize {
        self.sum(|component| component.in_paper_total)
    }

    /// Parameters of all networks whose weights are there.
    pub fn full_total(&self) -> usize {
        self.sum(|_| true)
    }

    fn sum(&self, counts: impl Fn(&ComponentParams) -> bool) -> usize {
        let counted = self.components.iter().filter(|component| counts(component));
        counted.filter_map(|component| component.n).sum()
    }
}

fn is_in_paper_total(stack: Stack, part: Part) -> bool {
    part == Part::PRIOR || stack.base_decoder().contains(&part)
}

/// The networks of a stack: the prior first, then in the order of its pipelines.
fn networks(stack: Stack) -> Vec<Part> {
    let mut found = vec![Part::PRIOR];
    let entries = stack.pipelines().iter().flat_map(|class| class.entries);
    for part in entries.filter_map(|entry| entry.part) {
        if part.has_weights() && !found.contains(&part) {
            found.push(part);
        }
    }
    found
}

/// Parameters in the folder of a part. A folder of both towers of a CLIP counts for each with its own.
fn count_stored(dir: &Path, part: Part) -> Result<usize, WeightsError> {
    let checkpoint = Checkpoint::open(dir)?;
    let of_other_tower: &[&str] = match part {
        Part::TEXT_ENCODER => &["vision_model.", "visual_projection."],
        Part::IMAGE_ENCODER => &["text_model.", "text_projection."],
        _ => &[],
    };
    let counted = checkpoint.tensors().iter().filter(|(name, tensor)| {
        let is_float = matches!(tensor.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16);
        is_float && is_counted(name) && !of_other_tower.iter().any(|tower| name.starts_with(tower))
    });
    Ok(counted
        .map(|(_, tensor)| tensor.shape.iter().product::<usize>())
        .sum())
}

fn count_described(network: &RandomNetwork, device: &Device) -> usize {
    let (_, parameters) = (network.describe)(device);
    let counted = parameters.iter().filter(|parameter| is_counted(&parameter.name));
    counted
        .map(|parameter| parameter.shape.iter().product::<usize>())
        .sum()
}

fn is_counted(tensor: &str) -> bool {
    !["clip_mean", "clip_std", "logit_scale"].contains(&tensor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;

    /// The counts of the published networks. Table 1 of the paper prints 33M of 0.93B and 1B of 1.9B for Karlo, 34M of 1.26B and 1B of 2.22B for
    /// Kandinsky 2.2: for that it takes the decoder of Kandinsky 2.1 (1.22B), which has 27M parameters less than the one that it uses.
    #[test]
    fn published_systems_have_the_parameters_that_the_paper_counts() {
        let device = DeviceSpec::default().device().expect("the default device");
        let found: Vec<String> = ParamCounts::published(&device)
            .iter()
            .map(|counts| {
                let count = |c: &ComponentParams| format!("{} {}", c.name, c.n.unwrap_or_default());
                let components: Vec<String> = counts.components.iter().map(count).collect();
                format!(
                    "{}: {} of {}: {}",
                    counts.system,
                    counts.paper_total(),
                    counts.full_total(),
                    components.join(", ")
                )
            })
            .collect();
        let karlo = "text_encoder 123650304, image_encoder 303966208, text_proj 7878400, decoder 885439686, \
                     super_res_first 691579523, super_res_last 691579523";
        let kandinsky = "image_encoder 1844907264, decoder 1253057288, movq 67832495, text_encoder 694659840";
        let expected = [
            format!("Karlo, eclipse_karlo_prior: 926459590 of 2737235148: prior 33141504, {karlo}"),
            format!("Karlo, karlo_prior_1b: 1915346630 of 3726122188: prior 1022028544, {karlo}"),
            format!(
                "Kandinsky 2.2, eclipse_kandinsky22_prior: 1287247880 of 3894647479: prior 34190592, {kandinsky}"
            ),
            format!(
                "Kandinsky 2.2, kandinsky22_prior_1b: 2279280648 of 4886680247: prior 1026223360, {kandinsky}"
            ),
        ];
        assert_eq!(found, expected);
    }
}
