//! What priors with and without time have in common.

use burn::module::Param;
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::prelude::*;

use super::block::{Block, NORM_EPS};
use super::{Conditioning, FastPaths, NormType, PriorConfig, TextCondition};
use crate::nn::{
    KvCache, PackedLayout, RowGroups, TokenMask, causal_bias, narrow, norm_rows, padding_bias,
    to_compute_dtype, to_f32,
};

/// Projections, positions, blocks and the output head.
#[derive(Module, Debug)]
pub(super) struct Trunk {
    /// Norm of the noise, if the config asks for one.
    norm_in: Option<LayerNorm>,
    /// `[d_clip, d_model]`: noise, or the noisy image embedding.
    proj_noise: Linear,
    norm_pooled: Option<LayerNorm>,
    proj_pooled: Linear,
    proj_tokens: Linear,
    /// `[1, seq, d_model]`
    positions: Param<Tensor<3>>,
    /// The learned query `prd`, `[1, 1, d_model]`; the output is read at its place.
    query_token: Param<Tensor<3>>,
    blocks: Vec<Block>,
    norm_out: LayerNorm,
    proj_out: Linear,
    /// `[1, d_out]`: statistics by which diffusion priors whiten their targets. Never trained.
    clip_mean: Param<Tensor<2>>,
    clip_std: Param<Tensor<2>>,
    #[module(skip)]
    conditioning: Conditioning,
    #[module(skip)]
    fast_paths: FastPaths,
}

/// Keys and values of captions, computed once for many timesteps. Caption tokens come first and attend to none of the later ones (the causal mask), so
/// their keys and values don't depend on the timestep.
#[derive(Debug, Clone)]
pub struct PrefixCache {
    groups: RowGroups,
    /// One a group.
    prefixes: Vec<Prefix>,
}

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Prefix {
    Cached {
        /// One a block.
        blocks: Vec<KvCache>,
        /// `[batch, n]`
        mask: TokenMask,
    },
    /// Without a mask attention isn't causal, and nothing can be cached.
    Uncached(Box<TextCondition>),
}

impl Trunk {
    pub(super) fn init(config: &PriorConfig, device: &Device) -> Self {
        let (d, d_clip) = (config.d_model(), config.d_clip);
        let (d_pooled, d_out) = (config.d_pooled.unwrap_or(d_clip), config.d_out.unwrap_or(d_clip));
        let norm = |d: usize| LayerNormConfig::new(d).with_epsilon(NORM_EPS).init(device);
        let norm_if = |kind: Option<NormType>, d: usize| kind.map(|NormType::Layer| norm(d));
        // Zeros: the constructor of diffusers' PriorTransformer.
        let zeros = Initializer::Zeros;
        Self {
            norm_in: norm_if(config.norm_in_type, d),
            proj_noise: LinearConfig::new(d_clip, d).init(device),
            norm_pooled: norm_if(config.embedding_proj_norm_type, d_pooled),
            proj_pooled: LinearConfig::new(d_pooled, d).init(device),
            proj_tokens: LinearConfig::new(d_clip, d).init(device),
            positions: zeros.init([1, config.n_text + config.n_extra, d], device),
            query_token: zeros.init([1, 1, d], device),
            blocks: (0..config.n_layers)
                .map(|_| Block::init(config, device))
                .collect(),
            norm_out: norm(d),
            proj_out: LinearConfig::new(d, d_out).init(device),
            clip_mean: zeros.init([1, d_out], device).set_require_grad(false),
            clip_std: zeros.init([1, d_out], device).set_require_grad(false),
            conditioning: config.conditioning,
            fast_paths: FastPaths::on(device),
        }
    }

    /// `noise`: `[batch, d_clip]`; `time`: `[batch, d_model]`, the embedded timestep of a diffusion prior -> `[batch, d_out]`.
    ///
    /// Order of the tokens: text states, pooled text, time, noise, query. `text` may leave out padding that the whole batch has at its end; the
    /// other tokens keep their positions.
    pub(super) fn forward(
        &self,
        noise: Tensor<2>,
        text: TextCondition,
        time: Option<Tensor<2>>,
    ) -> Tensor<2> {
        self.row_groups(&text).rows(|_, rows| {
            let of = |x: &Tensor<2>| narrow(x, &rows);
            self.forward_rows(of(&noise), text.narrow(rows.clone()), time.as_ref().map(of))
        })
    }

    /// Groups of captions that are computed side by side.
    fn row_groups(&self, text: &TextCondition) -> RowGroups {
        let [batch, n_text, _] = text.tokens.dims();
        let flop = 2.0 * self.num_params() as f64 * n_text as f64;
        RowGroups::new(batch, flop, &text.tokens.device())
    }

    fn forward_rows(&self, noise: Tensor<2>, text: TextCondition, time: Option<Tensor<2>>) -> Tensor<2> {
        let text = self.conditioning.of(text);
        let mask = text.mask.clone();
        let n_own = 2 + usize::from(time.is_some());
        let x = Tensor::cat(
            vec![self.caption_tokens(text, n_own), self.own_tokens(noise, time)],
            1,
        );
        let [batch, seq, _] = x.dims();
        let mask = mask.map(|mask| with_ones(&mask, seq));
        let layout = match &mask {
            Some(mask) if self.fast_paths.without_padding => PackedLayout::from_mask(mask),
            _ => PackedLayout::dense(batch, seq),
        };
        let bias = mask.map(|mask| text_bias(seq, &mask));
        let mut x = self.norm_in(layout.pack(x));
        // Only the query token is read, so the last block and the norm leave out the others.
        let (whole, last) = match self.blocks.split_last() {
            Some((last, others)) if self.fast_paths.last_token => (others, Some(last)),
            _ => (&self.blocks[..], None),
        };
        for block in whole {
            x = block
                .forward(x, &layout, bias.clone(), self.fast_paths.fused_qkv)
                .0;
        }
        self.predict(match last {
            Some(block) => block.last(x, &layout, bias),
            None => layout.last(x),
        })
    }

    /// The same trunk with other fast paths.
    pub(super) fn with_fast_paths(mut self, fast_paths: FastPaths) -> Self {
        self.fast_paths = fast_paths;
        self
    }

    /// Computes keys and values of captions, which `n_own` tokens are to follow, for [`Trunk::forward_cached`].
    pub(super) fn encode_prefix(&self, text: TextCondition, n_own: usize) -> PrefixCache {
        let groups = self.row_groups(&text);
        let prefixes = groups.map(|_, rows| self.encode_prefix_rows(text.narrow(rows), n_own));
        PrefixCache { groups, prefixes }
    }

    fn encode_prefix_rows(&self, text: TextCondition, n_own: usize) -> Prefix {
        let text = self.conditioning.of(text);
        let Some(mask) = text.mask.clone() else {
            return Prefix::Uncached(Box::new(text));
        };
        let x = self.caption_tokens(text, n_own);
        let seq = x.dims()[1];
        let mask = with_ones(&mask, seq);
        let layout = if self.fast_paths.without_padding {
            PackedLayout::from_mask(&mask)
        } else {
            PackedLayout::dense(mask.dims()[0], seq)
        };
        let bias = text_bias(seq, &mask);
        let mut x = self.norm_in(layout.pack(x));
        let mut blocks = Vec::with_capacity(self.blocks.len());
        if let Some((last, others)) = self.blocks.split_last() {
            for block in others {
                let (next, kv) = block.forward(x, &layout, Some(bias.clone()), self.fast_paths.fused_qkv);
                blocks.push(kv);
                x = next;
            }
            blocks.push(last.project_kv(x, &layout));
        }
        Prefix::Cached { blocks, mask }
    }

    /// [`Trunk::forward`] after [`Trunk::encode_prefix`]: the same numbers to rounding.
    pub(super) fn forward_cached(
        &self,
        prefix: &PrefixCache,
        noise: Tensor<2>,
        time: Option<Tensor<2>>,
    ) -> Tensor<2> {
        let PrefixCache { groups, prefixes } = prefix;
        groups.rows(|group, rows| {
            let of = |x: &Tensor<2>| narrow(x, &rows);
            self.forward_cached_rows(&prefixes[group], of(&noise), time.as_ref().map(of))
        })
    }

    fn forward_cached_rows(&self, prefix: &Prefix, noise: Tensor<2>, time: Option<Tensor<2>>) -> Tensor<2> {
        let (blocks, mask) = match prefix {
            Prefix::Cached { blocks, mask } => (blocks, mask),
            Prefix::Uncached(text) => return self.forward_rows(noise, TextCondition::clone(text), time),
        };
        let x = self.own_tokens(noise, time);
        let ([batch, n_own, _], n_cached) = (x.dims(), mask.dims()[1]);
        let layout = PackedLayout::dense(batch, n_own);
        let seq = n_cached + n_own;
        let bias = causal_bias(seq, &x.device()).narrow(2, n_cached, n_own)
            + padding_bias(to_compute_dtype(with_ones(mask, seq).values()));
        let mut x = self.norm_in(layout.pack(x));
        for (block, kv) in self.blocks.iter().zip(blocks) {
            x = block.forward_cached(kv.clone(), x, &layout, bias.clone());
        }
        self.predict(layout.last(x))
    }

    fn norm_in(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.norm_in {
            Some(norm) => norm_rows(norm, NORM_EPS, x),
            None => x,
        }
    }

    /// Text states and pooled text with their positions, `[batch, n_text + 1, d_model]`; `n_own` tokens are to follow.
    fn caption_tokens(&self, text: TextCondition, n_own: usize) -> Tensor<3> {
        let [batch, n_text, _] = text.tokens.dims();
        let [_, seq, d_model] = self.positions.dims();
        let pooled_at = seq - n_own - 1;
        assert!(
            n_text == pooled_at || (n_text < pooled_at && text.mask.is_some()),
            "a prior of {pooled_at} text tokens got {n_text}{}",
            if text.mask.is_some() {
                ""
            } else {
                " without a mask"
            }
        );
        let pooled = match &self.norm_pooled {
            Some(norm) => norm_rows(norm, NORM_EPS, to_compute_dtype(text.z_y)),
            None => to_compute_dtype(text.z_y),
        };
        let pooled = self.proj_pooled.forward(pooled).reshape([batch, 1, d_model]);
        let text_layout = PackedLayout::dense(batch, n_text);
        let tokens = self
            .proj_tokens
            .forward(text_layout.pack(to_compute_dtype(text.tokens)));
        let positions = |from, n| self.positions.val().narrow(1, from, n);
        Tensor::cat(
            vec![
                text_layout.unpack(tokens) + positions(0, n_text),
                pooled + positions(pooled_at, 1),
            ],
            1,
        )
    }

    /// Time if there is one, noise and query with their positions, `[batch, 2 or 3, d_model]`.
    fn own_tokens(&self, noise: Tensor<2>, time: Option<Tensor<2>>) -> Tensor<3> {
        let ([batch, _], [_, seq, d_model]) = (noise.dims(), self.positions.dims());
        let token = |x: Tensor<2>| x.reshape([batch, 1, d_model]);
        let mut tokens: Vec<Tensor<3>> = time.map(token).into_iter().collect();
        tokens.push(token(self.proj_noise.forward(to_compute_dtype(noise))));
        tokens.push(self.query_token.val().expand([batch, 1, d_model]));
        let n = tokens.len();
        Tensor::cat(tokens, 1) + self.positions.val().narrow(1, seq - n, n)
    }

    /// The prediction from the query's row `[batch, d_model]`.
    fn predict(&self, last: Tensor<2>) -> Tensor<2> {
        to_f32(self.proj_out.forward(norm_rows(&self.norm_out, NORM_EPS, last)))
    }

    /// `z_x * clip_std + clip_mean` (reference: `post_process_latents`).
    pub(super) fn unwhiten(&self, z_x: Tensor<2>) -> Tensor<2> {
        z_x * to_f32(self.clip_std.val()) + to_f32(self.clip_mean.val())
    }

    /// The same trunk with these statistics, both `[d_out]`.
    pub(super) fn with_statistics(mut self, mean: Tensor<1>, std: Tensor<1>) -> Self {
        self.clip_mean = Param::from_tensor(mean.unsqueeze()).set_require_grad(false);
        self.clip_std = Param::from_tensor(std.unsqueeze()).set_require_grad(false);
        self
    }
}

/// `mask` `[batch, n]` and ones up to `[batch, seq]`: tokens after the caption's always count.
fn with_ones(mask: &TokenMask, seq: usize) -> TokenMask {
    mask.followed_by(seq - mask.dims()[1], true)
}

/// Causal, and without padding: `[batch, 1, seq, seq]` from `mask` `[batch, seq]`.
fn text_bias(seq: usize, mask: &TokenMask) -> Tensor<4> {
    let mask = to_compute_dtype(mask.values());
    causal_bias(seq, &mask.device()) + padding_bias(mask)
}
