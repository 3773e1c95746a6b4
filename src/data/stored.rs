//! Training data from a store of embeddings.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use burn::prelude::*;
use rand::RngExt;

use super::examples::{Example, Examples};
use super::order::Order;
use super::store::Store;
use crate::models::clip::TextEncoder;
use crate::models::clip::tokenizer::Tokens;
use crate::models::text::{EncodedText, EncodedTexts, TextCondition};
use crate::noise::{Noise, Stream};

/// Examples of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Each caption, with its image.
    EachCaption,
    /// Each image, with one of its captions, another one in each pass.
    OneCaption,
}

/// Images of a store, with their captions.
pub struct StoredPairs {
    store: Arc<Store>,
    show: Show,
    /// Image and first caption of each example.
    examples: Vec<(u32, u32)>,
    /// For the first occurrence of a repeated image, its other occurrences: they share their captions.
    repeats: HashMap<u32, Vec<u32>>,
    order: Order,
    /// Computes hidden states that the store does not contain.
    texts: Option<Arc<TextEncoder>>,
}

impl std::fmt::Debug for StoredPairs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} examples of a store", self.examples.len())
    }
}

/// Whether an image is held out: `n_held_out` of `n`, evenly spread.
fn is_held_out(image: usize, n: usize, n_held_out: usize) -> bool {
    (image + 1) * n_held_out / n > image * n_held_out / n
}

impl StoredPairs {
    /// All pairs of `store`. `texts` computes hidden states if the store has none; it must be the text tower of the store's CLIP.
    ///
    /// # Panics
    /// If the store has no caption, or neither `store` nor `texts` provides hidden states.
    pub fn new(store: Arc<Store>, show: Show, texts: Option<Arc<TextEncoder>>) -> Self {
        Self::of(store, show, texts, |_| true)
    }

    /// All pairs of `store` except those of `n_held_out` images, and the pairs of these images, each with one caption. Occurrences of a repeated image are
    /// on the same side of the split.
    ///
    /// # Panics
    /// As [`StoredPairs::new`]; also if no image or every image ([`Store::n_distinct_images`]) is held out.
    pub fn parted(
        store: Arc<Store>,
        show: Show,
        texts: Option<Arc<TextEncoder>>,
        n_held_out: usize,
    ) -> (Self, Self) {
        // For each image, the number of its distinct image, in order of first appearance.
        let mut distinct: Vec<usize> = Vec::with_capacity(store.n_images());
        let mut n = 0;
        for (image, &first) in store.first_of_image().iter().enumerate() {
            if first as usize == image {
                distinct.push(n);
                n += 1;
            } else {
                distinct.push(distinct[first as usize]);
            }
        }
        assert!(
            (1..n).contains(&n_held_out),
            "{n_held_out} of {n} images held out"
        );
        let held_out = |image: usize| is_held_out(distinct[image], n, n_held_out);
        (
            Self::of(store.clone(), show, texts.clone(), |i| !held_out(i)),
            Self::of(store, Show::OneCaption, texts, held_out),
        )
    }

    fn of(
        store: Arc<Store>,
        show: Show,
        texts: Option<Arc<TextEncoder>>,
        has: impl Fn(usize) -> bool,
    ) -> Self {
        assert!(
            texts.is_some() || store.manifest().hidden_stored(),
            "nothing has hidden states"
        );
        let mut repeats: HashMap<u32, Vec<u32>> = HashMap::new();
        if show == Show::OneCaption {
            for (image, &first) in (0..).zip(store.first_of_image()) {
                if image != first {
                    repeats.entry(first).or_default().push(image);
                }
            }
        }
        let is_repeat =
            |image: usize| show == Show::OneCaption && store.first_of_image()[image] as usize != image;
        let (mut examples, mut shards, mut first) = (Vec::new(), Vec::new(), 0);
        for shard in store.shards() {
            let before = examples.len();
            for image in (first..first + shard.n_pictures).filter(|p| has(*p) && !is_repeat(*p)) {
                let captions = store.captions_of(image);
                let shown = match show {
                    Show::EachCaption => captions,
                    Show::OneCaption => captions.start..captions.end.min(captions.start + 1),
                };
                examples.extend(shown.map(|caption| (image as u32, caption as u32)));
            }
            first += shard.n_pictures;
            if examples.len() > before {
                shards.push(examples.len() - before);
            }
        }
        Self {
            order: Order::new(shards),
            store,
            show,
            examples,
            repeats,
            texts,
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The captions from the store or the text tower; `None` is the empty caption.
    fn encoded(&self, captions: &[Option<usize>]) -> EncodedTexts {
        let computed = match self.store.manifest().hidden_stored() {
            true => None,
            false => Some(self.computed(captions)),
        };
        let mut texts = EncodedTexts::new(self.d_clip());
        let (mut z_y, mut hidden) = (Vec::new(), Vec::new());
        for (row, caption) in captions.iter().enumerate() {
            z_y.clear();
            hidden.clear();
            match caption {
                Some(caption) => {
                    self.store.z_y(*caption, &mut z_y);
                    self.store.hidden(*caption, &mut hidden);
                }
                None => {
                    z_y.extend_from_slice(&self.store.empty().z_y);
                    hidden.extend_from_slice(&self.store.empty().hidden);
                }
            }
            texts.push(EncodedText {
                z_y: &z_y,
                hidden: computed.as_ref().map_or(&hidden, |texts| texts.get(row).hidden),
            });
        }
        texts
    }

    /// The captions from the text tower.
    fn computed(&self, captions: &[Option<usize>]) -> EncodedTexts {
        let encoder = self
            .texts
            .as_ref()
            .expect("a store without hidden states comes with an encoder");
        let tokens: Vec<Tokens> = captions
            .iter()
            .map(|caption| {
                let ids = match caption {
                    Some(caption) => self.store.ids(*caption),
                    None => self.store.empty().ids.clone(),
                };
                encoder.tokenizer().padded(ids.into_iter().map(u32::from))
            })
            .collect();
        let n_text = tokens.iter().map(|t| t.n_valid).max().unwrap_or(1);
        encoder.encode_first(&tokens, n_text).to_host()
    }

    fn rows(&self, n: usize, device: &Device, mut fill: impl FnMut(&mut Vec<f32>)) -> Tensor<2> {
        let d = self.d_clip();
        let mut values = Vec::with_capacity(n * d);
        fill(&mut values);
        Tensor::from_data(TensorData::new(values, [n, d]), device)
    }
}

impl Examples for StoredPairs {
    fn d_clip(&self) -> usize {
        self.store.manifest().d_clip()
    }

    fn order(&self) -> &Order {
        &self.order
    }

    fn example(&self, number: usize, pass: usize, seed: u64) -> Example {
        let (image, caption) = self.examples[number];
        let (image, mut caption) = (image as usize, caption as usize);
        if self.show == Show::OneCaption {
            let own = self.store.captions_of(image);
            let others = self.repeats.get(&(image as u32)).into_iter().flatten();
            let others: Vec<Range<usize>> = others.map(|&p| self.store.captions_of(p as usize)).collect();
            let n = own.len() + others.iter().map(ExactSizeIterator::len).sum::<usize>();
            if n > 1 {
                let stream = Stream::CaptionChoice(pass as u64, image as u64);
                let mut chosen: usize = Noise::of(seed, stream).rng().random_range(0..n);
                for captions in std::iter::once(own).chain(others) {
                    if chosen < captions.len() {
                        caption = captions.start + chosen;
                        break;
                    }
                    chosen -= captions.len();
                }
            }
        }
        Example { image, caption }
    }

    fn z_x(&self, examples: &[Example], device: &Device) -> Tensor<2> {
        self.rows(examples.len(), device, |values| {
            examples.iter().for_each(|e| self.store.z_x(e.image, values));
        })
    }

    fn z_y(&self, examples: &[Example], device: &Device) -> Tensor<2> {
        self.rows(examples.len(), device, |values| {
            examples.iter().for_each(|e| self.store.z_y(e.caption, values));
        })
    }

    fn text(&self, examples: &[Option<Example>], device: &Device) -> TextCondition {
        let captions: Vec<Option<usize>> = examples.iter().map(|e| e.map(|e| e.caption)).collect();
        self.encoded(&captions).to_device(device)
    }

    fn wording(&self, caption: usize) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.store.ids(caption).hash(&mut hasher);
        hasher.finish()
    }

    fn meaning(&self, caption: usize) -> u64 {
        self.wording(caption)
    }

    fn statistics(&self) -> (Vec<f32>, Vec<f32>) {
        let manifest = self.store.manifest();
        let floor = |v: &f32| v.max(1e-6);
        (manifest.mean.clone(), manifest.std.iter().map(floor).collect())
    }
}
