//! Which files of a repository this program reads.

use std::collections::BTreeMap;

use super::listing::RemoteFile;

/// Folders of weights for other programs.
const OTHERS: [&str; 6] = ["onnx", "openvino", "flax", "coreml", "tensorrt", "runs"];
/// Begins of the names of weight files that are read.
const STEMS: [&str; 3] = ["diffusion_pytorch_model", "pytorch_model", "model"];
/// Folders in folders that are read: pipelines beside each other, with their parts.
const DEPTH: usize = 2;

/// What is downloaded of a repository.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Every file.
    pub all: bool,
    /// Patterns of paths that are downloaded too.
    pub include: Vec<glob::Pattern>,
}

impl Selection {
    /// The files that are downloaded: configurations, tokenizers, and for each folder one format of weights, safetensors before PyTorch's.
    pub fn of<'a>(&self, files: &'a [RemoteFile]) -> Vec<&'a RemoteFile> {
        let weights = weights(files);
        let is_included = |name: &str| self.include.iter().any(|pattern| pattern.matches(name));
        let chosen = |file: &&RemoteFile| {
            let name = file.name.as_str();
            self.all || weights.contains(&name) || is_config(name) || is_included(name)
        };
        files.iter().filter(chosen).collect()
    }

    /// Whether `file` holds weights that this program reads.
    pub fn is_weights(file: &RemoteFile) -> bool {
        Weights::of(split(&file.name).1).is_some_and(|weights| !weights.is_index)
    }
}

/// The name of a file of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Weights {
    is_safetensors: bool,
    is_sharded: bool,
    is_index: bool,
}

impl Weights {
    /// `model.safetensors`, `model-00001-of-00002.safetensors`, `model.safetensors.index.json`, and the same of PyTorch. Variants (`model.fp16.safetensors`)
    /// are none.
    fn of(name: &str) -> Option<Self> {
        let rest = STEMS.iter().find_map(|stem| name.strip_prefix(stem))?;
        let (rest, is_index) = match rest.strip_suffix(".index.json") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let (shard, is_safetensors) = match rest.strip_suffix(".safetensors") {
            Some(shard) => (shard, true),
            None => (rest.strip_suffix(".bin")?, false),
        };
        let is_shard = |text: &str| {
            let numbers = text.strip_prefix('-').and_then(|text| text.split_once("-of-"));
            let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            numbers.is_some_and(|(i, n)| is_number(i) && is_number(n))
        };
        let is_sharded = is_index || is_shard(shard);
        (shard.is_empty() || is_sharded).then_some(Self {
            is_safetensors,
            is_sharded,
            is_index,
        })
    }

    /// Lower is read first.
    fn order(self) -> (bool, bool) {
        (!self.is_safetensors, self.is_sharded)
    }
}

/// The weights of each folder, in the format that is read first.
fn weights(files: &[RemoteFile]) -> Vec<&str> {
    let mut folders: BTreeMap<&str, Vec<(&str, Weights)>> = BTreeMap::new();
    for file in files.iter().filter(|file| is_near(&file.name)) {
        let (folder, name) = split(&file.name);
        if let Some(weights) = Weights::of(name) {
            folders.entry(folder).or_default().push((&file.name, weights));
        }
    }
    let chosen = folders.into_values().flat_map(|found| {
        // An index without its shards is no format.
        let whole = found.iter().filter(|(_, weights)| !weights.is_index);
        let first = whole.map(|(_, weights)| weights.order()).min();
        found
            .into_iter()
            .filter(move |(_, weights)| Some(weights.order()) == first)
    });
    chosen.map(|(name, _)| name).collect()
}

/// Configurations, and files of tokenizers.
fn is_config(path: &str) -> bool {
    let (_, name) = split(path);
    let is_index = name.ends_with(".index.json");
    let is_text = matches!(name, "merges.txt" | "vocab.txt");
    is_near(path) && !is_index && (is_text || name.ends_with(".json"))
}

/// Whether this program looks into the folder of a file.
fn is_near(path: &str) -> bool {
    let (folder, name) = split(path);
    let folders = || folder.split('/').filter(|part| !part.is_empty());
    folders().count() <= DEPTH && !folders().any(|part| OTHERS.contains(&part)) && !name.starts_with('.')
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::super::listing::Digest;
    use super::*;

    fn chosen(names: &[&str], selection: &Selection) -> Vec<String> {
        let file = |name: &&str| RemoteFile {
            name: (*name).into(),
            bytes: 1,
            digest: Digest::Git("0".repeat(40)),
        };
        let files: Vec<RemoteFile> = names.iter().map(file).collect();
        selection
            .of(&files)
            .iter()
            .map(|file| file.name.clone())
            .collect()
    }

    #[test]
    fn one_format_of_weights_is_downloaded() {
        let usual = Selection::default();
        let pipeline = [
            ".gitattributes",
            "README.md",
            "assets/cat.png",
            "decoder/config.json",
            "decoder/diffusion_pytorch_model.bin",
            "decoder/diffusion_pytorch_model.fp16.safetensors",
            "decoder/diffusion_pytorch_model.non_ema.safetensors",
            "decoder/diffusion_pytorch_model.safetensors",
            "model_index.json",
            "onnx/config.json",
            "prior/config.json",
            "prior/diffusion_pytorch_model.bin",
            "text_encoder/flax_model.msgpack",
            "text_encoder/model-00001-of-00002.safetensors",
            "text_encoder/model-00002-of-00002.safetensors",
            "text_encoder/model.safetensors.index.json",
            "text_encoder/pytorch_model.bin",
            "tokenizer/merges.txt",
            "tokenizer/vocab.json",
            "model.ckpt",
        ];
        let expected = [
            "decoder/config.json",
            "decoder/diffusion_pytorch_model.safetensors",
            "model_index.json",
            "prior/config.json",
            "prior/diffusion_pytorch_model.bin",
            "text_encoder/model-00001-of-00002.safetensors",
            "text_encoder/model-00002-of-00002.safetensors",
            "text_encoder/model.safetensors.index.json",
            "tokenizer/merges.txt",
            "tokenizer/vocab.json",
        ];
        assert_eq!(chosen(&pipeline, &usual), expected);
        let images = Selection {
            all: false,
            include: vec![glob::Pattern::new("*.png").expect("a pattern")],
        };
        assert_eq!(chosen(&pipeline, &images).len(), expected.len() + 1);
        let all = Selection {
            all: true,
            include: Vec::new(),
        };
        assert_eq!(chosen(&pipeline, &all).len(), pipeline.len());
        let both = [
            "model-00001-of-00001.safetensors",
            "model.safetensors",
            "pytorch_model.bin.index.json",
        ];
        assert_eq!(chosen(&both, &usual), ["model.safetensors"]);
        assert_eq!(
            chosen(&["model.safetensors.index.json", "pytorch_model.bin"], &usual),
            ["pytorch_model.bin"]
        );
    }
}
