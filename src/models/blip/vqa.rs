//! The whole network, and its answers to questions about images.

use std::path::Path;

use burn::prelude::*;
use burn::tensor::TensorData;
use image::RgbImage;

use super::{
    AnswerDecoder, BlipConfig, BlipError, BlipPreprocess, BlipVision, QuestionEncoder, QuestionTokenizer,
    interpolate_positions,
};
use crate::nn::{TokenMask, to_compute_dtype};
use crate::weights::{self, Checkpoint, Mapping, WeightsError};

/// Side of T2I-CompBench's images, in pixels (reference: `BLIPvqa_eval/configs/vqa.yaml`).
pub const SIDE: usize = 480;
/// Images in the networks at once: activations of more take memory and no less time.
const IMAGES_AT_ONCE: usize = 8;

/// Published names of [`VqaNetwork`]'s parameters.
pub const MAPPING: Mapping = Mapping {
    rules: &[
        (".vision.class_token", ".vision_model.embeddings.class_embedding"),
        (".vision.patches.", ".vision_model.embeddings.patch_embedding."),
        (".vision.positions", ".vision_model.embeddings.position_embedding"),
        (".vision.blocks.", ".vision_model.encoder.layers."),
        (".vision.norm_out.", ".vision_model.post_layernorm."),
        (".norm_1.", ".layer_norm1."),
        (".norm_2.", ".layer_norm2."),
        (".qkv.", ".self_attn.qkv."),
        (".projection.", ".self_attn.projection."),
        (".fc_1.", ".mlp.fc1."),
        (".fc_2.", ".mlp.fc2."),
        (".questions.bert.", ".text_encoder."),
        (".answers.bert.", ".text_decoder.bert."),
        (
            ".answers.transform.",
            ".text_decoder.cls.predictions.transform.dense.",
        ),
        (
            ".answers.transform_norm.",
            ".text_decoder.cls.predictions.transform.LayerNorm.",
        ),
        (".answers.bias", ".text_decoder.cls.predictions.bias"),
        (".words.", ".embeddings.word_embeddings."),
        (".positions.", ".embeddings.position_embeddings."),
        (".norm_in.", ".embeddings.LayerNorm."),
        (".blocks.", ".encoder.layer."),
        (".attention.query.", ".attention.self.query."),
        (".attention.key.", ".attention.self.key."),
        (".attention.value.", ".attention.self.value."),
        (".attention.output.", ".attention.output.dense."),
        (".attention_norm.", ".attention.output.LayerNorm."),
        (".cross.query.", ".crossattention.self.query."),
        (".cross.key.", ".crossattention.self.key."),
        (".cross.value.", ".crossattention.self.value."),
        (".cross.output.", ".crossattention.output.dense."),
        (".cross_norm.", ".crossattention.output.LayerNorm."),
        (".intermediate.", ".intermediate.dense."),
        (".contract.", ".output.dense."),
        (".contract_norm.", ".output.LayerNorm."),
    ],
};

/// Index buffers of old transformers versions, and the second names of tied tensors, see [`VqaNetwork::load`].
const IGNORED: [&str; 3] = [
    "text_encoder.embeddings.position_ids",
    "text_decoder.bert.embeddings.position_ids",
    "text_decoder.cls.predictions.decoder.",
];
/// Tensors that transformers stores once or twice.
const TIED: [(&str, &str); 2] = [
    (
        "text_decoder.cls.predictions.decoder.weight",
        "text_decoder.bert.embeddings.word_embeddings.weight",
    ),
    (
        "text_decoder.cls.predictions.decoder.bias",
        "text_decoder.cls.predictions.bias",
    ),
];

/// Image encoder, question encoder and answer decoder.
#[derive(Module, Debug)]
pub struct VqaNetwork {
    /// Images.
    pub vision: BlipVision,
    /// Questions about them.
    pub questions: QuestionEncoder,
    /// First words of answers.
    pub answers: AnswerDecoder,
}

impl BlipConfig {
    /// The network with Burn's own (lazy) initial values.
    pub fn init(&self, device: &Device) -> VqaNetwork {
        VqaNetwork {
            vision: self.vision.init(device),
            questions: self.text.question_encoder(device),
            answers: self.text.answer_decoder(device),
        }
    }
}

impl VqaNetwork {
    /// Loads the weights of `checkpoint`, for images of `side` pixels: position embeddings of another size are interpolated.
    ///
    /// # Errors
    /// [`WeightsError`], naming the tensors that do not fit; the matrix before the logits must be that of the words' embeddings.
    pub fn load(
        config: &BlipConfig,
        checkpoint: &Checkpoint,
        side: usize,
        device: &Device,
    ) -> Result<Self, WeightsError> {
        for (second, first) in TIED {
            let tensors = checkpoint.tensors();
            let (Some(second_), Some(first_)) = (tensors.get(second), tensors.get(first)) else {
                continue;
            };
            if second_.bytes() != first_.bytes() {
                return Err(WeightsError::Mismatch {
                    path: checkpoint.path().to_path_buf(),
                    model: "BLIP's question answering".into(),
                    missing: Vec::new(),
                    unused: Vec::new(),
                    misfits: vec![(second.into(), format!("the values of {first}"), "others".into())],
                });
            }
        }
        let mut network = weights::load(
            config.init(device),
            "BLIP's question answering",
            checkpoint,
            &MAPPING,
            &IGNORED,
        )?;
        let n = side / config.vision.patch_size;
        let positions = network.vision.positions();
        network.vision = network.vision.with_positions(interpolate_positions(positions, n));
        Ok(network)
    }
}

/// Preprocessing, tokenizer and network.
#[derive(Debug)]
pub struct Vqa {
    preprocess: BlipPreprocess,
    tokenizer: QuestionTokenizer,
    network: VqaNetwork,
    dec: u32,
    device: Device,
}

impl Vqa {
    /// Loads a folder that transformers' `save_pretrained` wrote, with `tokenizer.json` or `vocab.txt` in it, as T2I-CompBench uses BLIP: images of [`SIDE`]
    /// pixels and the norms of BLIP's own code ([`super::VISION_NORM_EPS`]).
    ///
    /// # Errors
    /// [`BlipError`], naming the file, the key or the tensors.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, BlipError> {
        Self::load_with(dir, &BlipConfig::read(dir)?.with_official_norms(), device)
    }

    /// [`Vqa::load`] with another configuration than that of the folder.
    ///
    /// # Errors
    /// Like [`Vqa::load`].
    pub fn load_with(dir: &Path, config: &BlipConfig, device: &Device) -> Result<Self, BlipError> {
        Ok(Self {
            preprocess: BlipPreprocess::read(dir, SIDE)?,
            tokenizer: QuestionTokenizer::load(dir, &config.text)?,
            network: VqaNetwork::load(config, &Checkpoint::open(dir)?, SIDE, device)?,
            dec: config.text.bos_token_id,
            device: device.clone(),
        })
    }

    /// The same with another network.
    #[must_use]
    pub fn with_network(mut self, change: impl FnOnce(VqaNetwork) -> VqaNetwork) -> Self {
        self.network = change(self.network);
        self
    }

    /// The preprocessing.
    pub fn preprocess(&self) -> &BlipPreprocess {
        &self.preprocess
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &QuestionTokenizer {
        &self.tokenizer
    }

    /// The network.
    pub fn network(&self) -> &VqaNetwork {
        &self.network
    }

    /// Pixels of an image, `[3, side, side]`.
    pub fn prepare(&self, image: &RgbImage) -> Vec<f32> {
        self.preprocess.apply(image)
    }

    /// The ids of questions.
    ///
    /// # Errors
    /// [`BlipError::Question`].
    pub fn encode(&self, questions: &[String]) -> Result<Vec<Vec<u32>>, BlipError> {
        questions
            .iter()
            .map(|question| self.tokenizer.encode(question))
            .collect()
    }

    /// The probability of "yes" among "yes" and "no", for every question about every image. `pixels`: those of the images one after the other, from
    /// [`Vqa::prepare`]; `questions`: of each image, from [`Vqa::encode`].
    ///
    /// # Panics
    /// If there are not as many images in `pixels` as in `questions`.
    pub fn yes(&self, pixels: &[f32], questions: &[&[Vec<u32>]]) -> Vec<Vec<f32>> {
        let size = 3 * self.preprocess.side.pow(2);
        assert_eq!(
            pixels.len(),
            questions.len() * size,
            "as many images as lists of questions"
        );
        let mut answers = Vec::with_capacity(questions.len());
        for (pixels, questions) in pixels
            .chunks(IMAGES_AT_ONCE * size)
            .zip(questions.chunks(IMAGES_AT_ONCE))
        {
            let asked = self.tokens(questions);
            let images = self.encode_images(pixels.to_vec());
            let states = self.network.questions.forward(asked.ids, &asked.mask, images);
            let logits = self.logits(
                states,
                Some(&asked.mask),
                Some(&[self.tokenizer.yes, self.tokenizer.no]),
            );
            let yes = p_yes(logits);
            let rows = yes.chunks(asked.each).zip(questions);
            answers.extend(rows.map(|(row, questions)| row[..questions.len()].to_vec()));
        }
        answers
    }

    /// States of images, `[n, seq, d_model]`. `pixels`: `n` times `[3, side, side]`.
    pub fn encode_images(&self, pixels: Vec<f32>) -> Tensor<3> {
        let side = self.preprocess.side;
        let n = pixels.len() / (3 * side * side);
        let pixels = Tensor::from_data(TensorData::new(pixels, [n, 3, side, side]), &self.device);
        self.network.vision.forward(pixels)
    }

    /// Logits of the first words of answers, in f32: of `words`, or of all. The arguments are those of [`AnswerDecoder::forward`].
    pub fn logits(&self, states: Tensor<3>, mask: Option<&TokenMask>, words: Option<&[u32]>) -> Tensor<2> {
        let answers = &self.network.answers;
        answers.logits(answers.forward(self.dec, to_compute_dtype(states), mask), words)
    }

    /// The tokens of questions about images, as one batch. Every image gets as many as the one with the most, the last ones empty.
    pub fn tokens(&self, questions: &[&[Vec<u32>]]) -> AskedTokens {
        let each = questions
            .iter()
            .map(|of_one| of_one.len())
            .max()
            .unwrap_or(0)
            .max(1);
        let empty = vec![self.tokenizer.enc, self.tokenizer.sep];
        let rows: Vec<&Vec<u32>> = questions
            .iter()
            .flat_map(|of_one| of_one.iter().chain(std::iter::repeat(&empty)).take(each))
            .collect();
        let lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
        let n_text = lengths.iter().copied().max().unwrap_or(0);
        let ids: Vec<i64> = rows
            .iter()
            .flat_map(|row| {
                let padding = std::iter::repeat(&self.tokenizer.pad);
                row.iter().chain(padding).take(n_text).map(|id| i64::from(*id))
            })
            .collect();
        let ids = TensorData::new(ids, [rows.len(), n_text]);
        AskedTokens {
            ids: Tensor::from_data(ids, &self.device),
            mask: TokenMask::of_lengths(&lengths, n_text, &self.device),
            each,
        }
    }
}

/// Tokens of questions about images, as many questions for each image.
#[derive(Debug, Clone)]
pub struct AskedTokens {
    /// `[images * each, n_text]`
    pub ids: Tensor<2, Int>,
    /// Which of them are not padding.
    pub mask: TokenMask,
    /// Questions for each image.
    pub each: usize,
}

/// P(yes) / (P(yes) + P(no)) of the logits of both, `[n, 2]`.
pub fn p_yes(logits: Tensor<2>) -> Vec<f32> {
    let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
    let of_pair = |[yes, no]: &[f32; 2]| (1.0 / (1.0 + f64::from(no - yes).exp())) as f32;
    logits.as_chunks().0.iter().map(of_pair).collect()
}
