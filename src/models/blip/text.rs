//! BLIP's two BERTs, which read image states and question states by cross-attention (reference: transformers `BlipTextModel`, `BlipTextLMHeadModel`).
//!
//! Axes: n texts of n_text tokens; m memories, states of other sequences of length seq, read by n / m texts each; d_model.

use burn::module::Param;
use burn::nn::{Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig};
use burn::prelude::*;

use super::BlipTextConfig;
use crate::nn::{
    Activation, LayerNorm, LayerNormConfig, PackedLayout, SelfAttention, SelfAttentionConfig, TokenMask,
    padding_bias, to_f32,
};

/// The BERT of questions.
#[derive(Module, Debug)]
pub struct QuestionEncoder {
    bert: Bert,
}

/// The BERT of answers, and what words follow.
#[derive(Module, Debug)]
pub struct AnswerDecoder {
    bert: Bert,
    transform: Linear,
    transform_norm: LayerNorm,
    /// `[n_words]`. The matrix beside it is that of the words' embeddings.
    bias: Param<Tensor<1>>,
    #[module(skip)]
    activation: Activation,
}

#[derive(Module, Debug)]
struct Bert {
    words: Embedding,
    positions: Embedding,
    norm_in: LayerNorm,
    blocks: Vec<Block>,
}

/// `norm(x + attention(x))`, `norm(x + cross(x, memory))`, `norm(x + mlp(x))`.
#[derive(Module, Debug)]
struct Block {
    attention: SelfAttention,
    attention_norm: LayerNorm,
    cross: SelfAttention,
    cross_norm: LayerNorm,
    intermediate: Linear,
    contract: Linear,
    contract_norm: LayerNorm,
    #[module(skip)]
    activation: Activation,
}

/// Sequences that attend or are attended to, and what is added to the scores of their tokens.
struct Sequences {
    layout: PackedLayout,
    /// `[n, 1, 1, seq]`, or none where no token is padding.
    bias: Option<Tensor<4>>,
}

impl Sequences {
    fn new(n: usize, seq: usize, mask: Option<&TokenMask>) -> Self {
        Self {
            layout: PackedLayout::dense(n, seq),
            bias: mask.map(|mask| padding_bias(mask.values())),
        }
    }
}

impl BlipTextConfig {
    fn norm(&self, device: &Device) -> LayerNorm {
        LayerNormConfig::new(self.hidden_size, self.layer_norm_eps).init(device)
    }

    fn bert(&self, device: &Device) -> Bert {
        let (d, d_ff, n_heads) = (self.hidden_size, self.intermediate_size, self.num_attention_heads);
        let attention = || SelfAttentionConfig::new(d, n_heads, d / n_heads).init(device);
        let block = |_| Block {
            attention: attention(),
            attention_norm: self.norm(device),
            cross: attention(),
            cross_norm: self.norm(device),
            intermediate: LinearConfig::new(d, d_ff).init(device),
            contract: LinearConfig::new(d_ff, d).init(device),
            contract_norm: self.norm(device),
            activation: self.hidden_act,
        };
        Bert {
            words: EmbeddingConfig::new(self.vocab_size, d).init(device),
            positions: EmbeddingConfig::new(self.max_position_embeddings, d).init(device),
            norm_in: self.norm(device),
            blocks: (0..self.num_hidden_layers).map(block).collect(),
        }
    }

    /// A BERT of questions with Burn's own (lazy) initial values.
    pub(super) fn question_encoder(&self, device: &Device) -> QuestionEncoder {
        QuestionEncoder {
            bert: self.bert(device),
        }
    }

    /// A BERT of answers with Burn's own (lazy) initial values.
    pub(super) fn answer_decoder(&self, device: &Device) -> AnswerDecoder {
        AnswerDecoder {
            bert: self.bert(device),
            transform: LinearConfig::new(self.hidden_size, self.hidden_size).init(device),
            transform_norm: self.norm(device),
            bias: Initializer::Zeros.init([self.vocab_size], device),
            activation: self.hidden_act,
        }
    }
}

impl QuestionEncoder {
    /// The states of questions about images. `ids`: `[n, n_text]`, as many questions for each image, those of the first image first; `mask`: which of them
    /// are not padding; `images`: `[m, seq, d_model]` -> `[n, n_text, d_model]`.
    pub fn forward(&self, ids: Tensor<2, Int>, mask: &TokenMask, images: Tensor<3>) -> Tensor<3> {
        self.bert.forward(ids, Some(mask), images, None)
    }
}

impl AnswerDecoder {
    /// The state from which the first word of each answer follows. `start`: the id that starts answers; `questions`: states `[n, n_text, d_model]`, of
    /// which those of padding are not read where a `mask` says which they are -> `[n, d_model]`.
    pub fn forward(&self, start: u32, questions: Tensor<3>, mask: Option<&TokenMask>) -> Tensor<2> {
        let [n, _, d_model] = questions.dims();
        let start = Tensor::<2, Int>::full([n, 1], start, &questions.device());
        let x = self
            .bert
            .forward(start, None, questions, mask)
            .reshape([n, d_model]);
        let x = self.activation.forward(self.transform.forward(x));
        self.transform_norm.forward(x)
    }

    /// Logits of the words `words`, of all in order where there are none, in f32. `state`: `[n, d_model]` -> `[n, words]`.
    pub fn logits(&self, state: Tensor<2>, words: Option<&[u32]>) -> Tensor<2> {
        let (mut weight, mut bias) = (self.bert.words.weight.val(), self.bias.val());
        if let Some(words) = words {
            let ids: Vec<i64> = words.iter().map(|id| i64::from(*id)).collect();
            let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [words.len()]), &state.device());
            (weight, bias) = (weight.select(0, ids.clone()), bias.select(0, ids));
        }
        to_f32(state).matmul(to_f32(weight).transpose()) + to_f32(bias).unsqueeze()
    }
}

impl Bert {
    /// `ids`: `[n, n_text]`; `memory`: `[m, seq, d_model]`; the masks are theirs -> `[n, n_text, d_model]`.
    fn forward(
        &self,
        ids: Tensor<2, Int>,
        mask: Option<&TokenMask>,
        memory: Tensor<3>,
        memory_mask: Option<&TokenMask>,
    ) -> Tensor<3> {
        let ([n, n_text], [m, seq, _]) = (ids.dims(), memory.dims());
        let own = Sequences::new(n, n_text, mask);
        // All texts about one memory are one sequence to it: its keys and values are computed once.
        let across = PackedLayout::dense(m, n / m * n_text);
        let memory_of = Sequences::new(m, seq, memory_mask);
        let memory = memory_of.layout.pack(memory);
        let positions = Tensor::arange(0..n_text as i64, &ids.device()).unsqueeze::<2>();
        let x = self.words.forward(ids) + self.positions.forward(positions);
        let mut x = own.layout.pack(self.norm_in.forward(x));
        for block in &self.blocks {
            x = block.forward(x, &own, &across, memory.clone(), &memory_of);
        }
        own.layout.unpack(x)
    }
}

impl Block {
    /// `x`: `[n * n_text, d_model]`, the tokens of `own`, which are those of `across` too; `memory`: `[m * seq, d_model]`, the tokens of `memory_of`.
    fn forward(
        &self,
        x: Tensor<2>,
        own: &Sequences,
        across: &PackedLayout,
        memory: Tensor<2>,
        memory_of: &Sequences,
    ) -> Tensor<2> {
        let query = self.attention.project_q(x.clone(), &own.layout);
        let kv = self.attention.project_kv(x.clone(), &own.layout);
        let y = self.attention.attend(query, kv, own.bias.clone(), &own.layout);
        let x = self.attention_norm.forward(x + y);

        let query = self.cross.project_q(x.clone(), across);
        let kv = self.cross.project_kv(memory, &memory_of.layout);
        let y = self.cross.attend(query, kv, memory_of.bias.clone(), across);
        let x = self.cross_norm.forward(x + y);

        let h = self.activation.forward(self.intermediate.forward(x.clone()));
        self.contract_norm.forward(x + self.contract.forward(h))
    }
}
