//! The second half of a wave: a decoder draws every z_x.

use burn::prelude::*;
use burn::tensor::DType;

use super::embed::Captions;
use super::trajectory::step;
use super::{Event, Wave};
use crate::generate::draws::{RowNoise, Rows, Stage};
use crate::generate::error::RenderError;
use crate::generate::kandinsky::{self, Start, picture_tensor};
use crate::generate::karlo::{self, SuperRes};
use crate::generate::latents::{Autoencoder, LatentSpace};
use crate::generate::layout::Part;
use crate::generate::picture::to_pictures;
use crate::generate::plan::Planned;
use crate::generate::sides::Sampled;
use crate::models::clip::ClipError;
use crate::models::clip::preprocess::read_picture;
use crate::models::text_proj::TextProj;
use crate::models::unet::UNet;

impl Wave<'_> {
    /// The generators of a stage, one for each picture.
    fn noise(&self, stage: Stage) -> Vec<RowNoise> {
        let of = |picture: &&Planned| {
            let noise = RowNoise::seeded(picture.subject.seed, stage);
            noise.recorded(self.plan.recorded.as_ref(), picture.subject.row)
        };
        self.pictures.iter().map(of).collect()
    }

    fn n_batches(&self) -> usize {
        self.pictures.len().div_ceil(self.options.batch)
    }

    pub(super) fn draw_karlo(
        &mut self,
        z_x: &[Vec<f32>],
        captions: &Captions,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Vec<Tensor<4>>, RenderError> {
        let (plan, batch) = (self.plan, self.options.batch);
        let Sampled {
            scheduler, settings, ..
        } = &plan.decoder;
        let (_, text_proj) = TextProj::load(self.part(Part::TextProj)?, self.device)?;
        let (config, unet) = UNet::load(self.part(Part::Decoder)?, self.device)?;
        on_event(Event::Stage {
            name: "decoder",
            n_steps: self.n_batches() * settings.n_steps,
        });
        let away = plan.negative.as_deref().unwrap_or_default();
        let mut noise = self.noise(Stage::Decoder);
        let save = self.options.save_steps;
        let mut small = Vec::new();
        for (i, noise) in noise.chunks_mut(batch).enumerate() {
            let rows = i * batch..i * batch + noise.len();
            let texts: Vec<&str> = self.pictures[rows.clone()]
                .iter()
                .map(|p| p.subject.origin.caption())
                .collect();
            let text = captions.rows(&texts);
            let away = settings.guided().then(|| captions.rows(&vec![away; texts.len()]));
            let z_x = matrix(&z_x[rows.clone()], self.device);
            let condition = karlo::condition(&text_proj, z_x, text, away);
            let kept = &mut self.trajectories[rows];
            small.push(karlo::decode(
                (&config, &unet),
                scheduler,
                texts.len(),
                condition,
                *settings,
                &mut Rows(noise),
                |x| step(kept, "decoder_steps", x, save, on_event),
            )?);
        }
        Ok(small)
    }

    pub(super) fn super_resolve(
        mut self,
        small: Vec<Tensor<4>>,
        super_res: &Sampled,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), RenderError> {
        let batch = self.options.batch;
        let Sampled {
            config,
            scheduler,
            settings,
        } = super_res;
        let mut noise = self.noise(Stage::SuperRes);
        let mut states = Vec::new();
        for (small, noise) in small.into_iter().zip(noise.chunks_mut(batch)) {
            states.push(SuperRes::begin(small, config, &mut Rows(noise))?);
        }
        let visits = scheduler.visits(settings.n_steps)?;
        let (first, last) = visits.split_at(visits.len() - 1);
        for (name, part, visits) in [
            ("super-resolution", Part::SuperResFirst, first),
            ("super-resolution, last", Part::SuperResLast, last),
        ] {
            if visits.is_empty() {
                continue;
            }
            let (_, unet) = UNet::load(self.part(part)?, self.device)?;
            on_event(Event::Stage {
                name,
                n_steps: self.n_batches() * visits.len(),
            });
            let save = self.options.save_steps;
            let mut advanced = Vec::new();
            for ((state, noise), kept) in states
                .into_iter()
                .zip(noise.chunks_mut(batch))
                .zip(self.trajectories.chunks_mut(batch))
            {
                let on_step = |x: &Tensor<4>| step(kept, "super_res_steps", x, save, on_event);
                advanced.push(state.advance(&unet, scheduler, visits, &mut Rows(noise), on_step)?);
            }
            states = advanced;
        }
        let mut at = 0;
        for state in states {
            for picture in to_pictures(state.finish())? {
                self.write(at, &picture, on_event)?;
                at += 1;
            }
        }
        // The decoder draws pixels: its steps are pictures already.
        self.write_steps(|x| x)
    }

    /// Where Kandinsky starts: from noise, or from the latents of a picture.
    pub(super) fn start(
        &self,
        latent: [usize; 2],
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Start, RenderError> {
        let Some(init) = &self.plan.init else {
            return Ok(Start::Noise(latent));
        };
        on_event(Event::Stage {
            name: "picture encoder",
            n_steps: 1,
        });
        let autoencoder = Autoencoder::load(&self.plan.layout, self.device)?;
        let picture = read_picture(&init.image.path).map_err(ClipError::from)?;
        let scale = LatentSpace::read(&self.plan.layout)?.scale();
        let [h, w] = latent.map(|side| side * scale);
        let latents = autoencoder.encode(picture_tensor(&picture, w, h, self.device));
        on_event(Event::Step);
        Ok(Start::Picture {
            latents,
            strength: init.strength,
        })
    }

    pub(super) fn draw_kandinsky(
        &mut self,
        z_x: &[Vec<f32>],
        away: Option<&[Vec<f32>]>,
        start: &Start,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Vec<Tensor<4>>, RenderError> {
        let (plan, batch) = (self.plan, self.options.batch);
        let Sampled {
            config,
            scheduler,
            settings,
        } = &plan.decoder;
        let n_steps = match start {
            Start::Noise(_) => settings.n_steps,
            Start::Picture { strength, .. } => {
                kandinsky::visits_of_strength(scheduler, settings.n_steps, *strength)?.len()
            }
        };
        let (_, unet) = UNet::load(self.part(Part::Decoder)?, self.device)?;
        on_event(Event::Stage {
            name: "decoder",
            n_steps: self.n_batches() * n_steps,
        });
        let mut noise = self.noise(Stage::Decoder);
        let save = self.options.save_steps;
        let mut latents = Vec::new();
        for (i, noise) in noise.chunks_mut(batch).enumerate() {
            let rows = i * batch..i * batch + noise.len();
            let kept = &mut self.trajectories[rows.clone()];
            latents.push(kandinsky::decode(
                &unet,
                config.in_channels,
                scheduler,
                matrix(&z_x[rows.clone()], self.device),
                away.map(|away| matrix(&away[rows], self.device)),
                start,
                *settings,
                &mut Rows(noise),
                |x| step(kept, "decoder_steps", x, save, on_event),
            )?);
        }
        Ok(latents)
    }

    pub(super) fn decode_latents(
        self,
        latents: Vec<Tensor<4>>,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), RenderError> {
        let autoencoder = Autoencoder::load(&self.plan.layout, self.device)?;
        on_event(Event::Stage {
            name: autoencoder.name(),
            n_steps: self.pictures.len(),
        });
        let mut at = 0;
        for latents in latents {
            // One by one: at full size this takes more memory than the UNet.
            for latents in latents.split(1, 0) {
                for picture in to_pictures(autoencoder.decode(latents))? {
                    on_event(Event::Step);
                    self.write(at, &picture, on_event)?;
                    at += 1;
                }
            }
        }
        self.write_steps(|x| autoencoder.decode(x))
    }
}

fn matrix(rows: &[Vec<f32>], device: &Device) -> Tensor<2> {
    let shape = [rows.len(), rows[0].len()];
    Tensor::from_data(TensorData::new(rows.concat(), shape), (device, DType::F32))
}
