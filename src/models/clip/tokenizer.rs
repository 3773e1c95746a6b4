//! CLIP's tokenizer: text to padded token ids.
//!
//! Behaves as transformers' `CLIPTokenizerFast` does with `padding="max_length", truncation=True`: NFC, whitespace runs to one space, lower case,
//! byte-level BPE with `</w>`, start and end tokens, the last id of a text that is too long replaced by the end token. OpenAI's original code and
//! transformers' slow tokenizer differ on HTML entities, smart quotes, full-width letters and the like.
//!
//! A folder holds `tokenizer.json`, or, as the published ones do, `vocab.json` and `merges.txt`. The padding token is what
//! `special_tokens_map.json` or `tokenizer_config.json` says (`<|endoftext|>` for OpenAI's models, `!` for some OpenCLIP ones). Tokens that were added
//! (`added_tokens.json`, `added_tokens_decoder`, `additional_special_tokens`, as textual inversion does it) are tokens here too; settings that would make
//! other ids than these rules are refused.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{self, Lowercase, NFC, Replace};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior};

use super::added::AddedTokens;
pub use super::error::TokenizerError;
use crate::config::{ConfigError, read_json};
use crate::files::{self, guarded};

/// How CLIP parts a text into words (openai/CLIP `simple_tokenizer.py`).
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// Start and end of a text where the files name none (same source).
const BOS: &str = "<|startoftext|>";
const EOS: &str = "<|endoftext|>";

/// One tokenized text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// `[n_text]` ids: start, words, end, padding.
    pub ids: Vec<u32>,
    /// How many of them are not padding; start and end count.
    pub n_valid: usize,
    /// Words of the text (parted by white space) that did not fit, in whole or in part.
    pub n_words_cut: usize,
}

impl Tokens {
    /// `[n_text]`: true for start, words and end, false for padding.
    pub fn mask(&self) -> Vec<bool> {
        (0..self.ids.len()).map(|i| i < self.n_valid).collect()
    }
}

/// A tokenizer for texts of `n_text` tokens.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    n_text: usize,
    bos: u32,
    eos: u32,
    pad: u32,
    /// What stands for words outside the vocabulary, if that is a token of its own.
    unknown: Option<u32>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Tokenizer(n_text {}, bos {}, eos {}, pad {})",
            self.n_text, self.bos, self.eos, self.pad
        )
    }
}

impl Tokenizer {
    /// Loads the tokenizer in the folder `path`; `n_text` is the text model's `max_position_embeddings`.
    ///
    /// # Errors
    /// [`TokenizerError`]: no tokenizer in the folder, files that hold something else, special tokens outside the vocabulary, `n_text` below 2.
    pub fn load(path: impl AsRef<Path>, n_text: usize) -> Result<Self, TokenizerError> {
        let path = path.as_ref();
        // The crate panics at some files.
        guarded(|| Self::read(path, n_text)).unwrap_or_else(|| {
            Err(TokenizerError::Malformed {
                path: path.to_path_buf(),
                reason: "its tokenizer is damaged: the parts of its file do not fit each other".into(),
            })
        })
    }

    fn read(path: &Path, n_text: usize) -> Result<Self, TokenizerError> {
        if n_text < 2 {
            return Err(TokenizerError::TooShort(n_text));
        }
        let specials = Specials::read(path)?;
        let json = path.join("tokenizer.json");
        let (vocab, merges) = (path.join("vocab.json"), path.join("merges.txt"));
        let (mut inner, file) = if json.is_file() {
            (from_tokenizer_json(&json)?, json)
        } else if vocab.is_file() && merges.is_file() {
            (from_vocab_and_merges(&vocab, &merges, &specials)?, vocab)
        } else {
            return Err(TokenizerError::Absent(path.to_path_buf()));
        };
        let malformed = |reason: String| TokenizerError::Malformed {
            path: file.clone(),
            reason,
        };
        AddedTokens::read(path, n_text)?.add_to(&mut inner, path)?;
        let own_pad = inner.get_padding().map(|p| p.pad_token.clone());
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| malformed(e.to_string()))?;

        let empty = inner.encode("", true).map_err(|e| malformed(e.to_string()))?;
        let &[bos, eos] = empty.get_ids() else {
            let found = empty.get_tokens();
            return Err(malformed(format!(
                "an empty text must give the start and end tokens, it gives {found:?}"
            )));
        };
        let id = |role, token: &str| {
            inner
                .token_to_id(token)
                .ok_or_else(|| TokenizerError::UnknownSpecial {
                    path: path.to_path_buf(),
                    role,
                    token: token.to_string(),
                })
        };
        for (role, token, found) in [("start", &specials.bos, bos), ("end", &specials.eos, eos)] {
            if let Some(token) = token
                && id(role, token)? != found
            {
                return Err(malformed(format!(
                    "the {role} token should be {token:?}, texts get {:?}",
                    inner.id_to_token(found).unwrap_or_default()
                )));
            }
        }
        let unknown = specials.unk.as_deref().and_then(|token| inner.token_to_id(token));
        let pad = match specials.pad.or(own_pad) {
            Some(token) => id("padding", &token)?,
            None => eos,
        };
        Ok(Self {
            inner,
            n_text,
            bos,
            eos,
            pad,
            unknown: unknown.filter(|id| ![bos, eos, pad].contains(id)),
        })
    }

    /// Tokens in a text, padding included.
    pub fn n_text(&self) -> usize {
        self.n_text
    }

    /// Size of the vocabulary, special tokens included.
    pub fn n_vocab(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Id of the start token.
    pub fn bos(&self) -> u32 {
        self.bos
    }

    /// Id of the end token.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// These ids with padding behind them. Too many are cut.
    pub fn padded(&self, ids: impl IntoIterator<Item = u32>) -> Tokens {
        let mut ids: Vec<u32> = ids.into_iter().take(self.n_text).collect();
        let n_valid = ids.len();
        ids.resize(self.n_text, self.pad);
        Tokens {
            ids,
            n_valid,
            n_words_cut: 0,
        }
    }

    /// Id of the padding token.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// Tokenizes one text.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`], for instance for a word outside a word-level vocabulary without an unknown token.
    pub fn encode(&self, text: &str) -> Result<Tokens, TokenizerError> {
        let encoding = self
            .inner
            .encode(text, true)
            .map_err(|e| TokenizerError::Encode {
                text: text.to_string(),
                reason: e.to_string(),
            })?;
        let mut ids = encoding.get_ids().to_vec();
        let mut n_words_cut = 0;
        if ids.len() > self.n_text {
            let kept = self.n_text - 1;
            // Offsets are bytes of `text`; the first token that is lost may lie inside a word.
            let from = encoding.get_offsets()[kept].0;
            n_words_cut = text.get(from..).map_or(1, |rest| rest.split_whitespace().count());
            ids.truncate(kept);
            ids.push(self.eos);
        }
        let n_valid = ids.len();
        ids.resize(self.n_text, self.pad);
        Ok(Tokens {
            ids,
            n_valid,
            n_words_cut,
        })
    }

    /// The words of `text` (parted by white space) that are outside a word-level vocabulary; none of a byte-level one.
    pub fn unknown_words(&self, text: &str) -> Vec<String> {
        let Some(unknown) = self.unknown else {
            return Vec::new();
        };
        let is_unknown = |word: &&str| {
            let encoded = self.inner.encode(*word, false);
            encoded.is_ok_and(|encoding| encoding.get_ids().contains(&unknown))
        };
        let words = text.split_whitespace().filter(is_unknown);
        words.map(str::to_owned).collect()
    }

    /// Tokenizes many texts, in order, on all threads.
    ///
    /// # Errors
    /// That of the first text that fails.
    pub fn encode_batch<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Tokens>, TokenizerError> {
        use rayon::prelude::*;
        texts
            .par_iter()
            .map(|t| self.encode(t.as_ref()))
            .collect::<Vec<_>>()
            .into_iter()
            .collect()
    }
}

/// The special tokens that the folder's side files name.
#[derive(Debug, Default)]
struct Specials {
    bos: Option<String>,
    eos: Option<String>,
    unk: Option<String>,
    pad: Option<String>,
}

impl Specials {
    /// `special_tokens_map.json` first, `tokenizer_config.json` for what it lacks; both may be absent.
    fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let mut specials = Self::default();
        for name in ["special_tokens_map.json", "tokenizer_config.json"] {
            let path = folder.join(name);
            if !path.is_file() {
                continue;
            }
            let value: Value = read_json(&path)?;
            let slots = [
                ("bos_token", &mut specials.bos),
                ("eos_token", &mut specials.eos),
                ("unk_token", &mut specials.unk),
                ("pad_token", &mut specials.pad),
            ];
            for (key, slot) in slots {
                let token = match value.get(key) {
                    None | Some(Value::Null) => continue,
                    Some(Value::String(token)) => token.clone(),
                    Some(entry) => match entry.get("content").and_then(Value::as_str) {
                        Some(token) => token.to_string(),
                        None => {
                            let expected = "a token or an object with content";
                            return Err(ConfigError::value(path.display(), key, expected, entry).into());
                        }
                    },
                };
                slot.get_or_insert(token);
            }
        }
        Ok(specials)
    }
}

fn from_tokenizer_json(path: &Path) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let text = files::read_text(path)?;
    tokenizers::Tokenizer::from_bytes(text).map_err(|e| TokenizerError::Malformed {
        path: path.to_path_buf(),
        reason: format!("no valid tokenizer: {e}"),
    })
}

/// Builds what `CLIPTokenizerFast` builds from the same two files.
fn from_vocab_and_merges(
    vocab_path: &Path,
    merges_path: &Path,
    specials: &Specials,
) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let vocab: HashMap<String, u32> = read_json(vocab_path)?;
    let bad_vocab = |reason: String| TokenizerError::Malformed {
        path: vocab_path.to_path_buf(),
        reason,
    };
    let bad_merges = |reason: String| TokenizerError::Malformed {
        path: merges_path.to_path_buf(),
        reason,
    };
    let text = files::read_text(merges_path)?;
    let mut merges = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if line.is_empty() || (i == 0 && line.starts_with("#version")) {
            continue;
        }
        match line.split_once(' ') {
            Some((a, b)) if !b.contains(' ') => merges.push((a.to_string(), b.to_string())),
            _ => {
                return Err(bad_merges(format!(
                    "line {}: expected two symbols, found {line:?}",
                    i + 1
                )));
            }
        }
    }
    let bos = specials.bos.clone().unwrap_or_else(|| BOS.into());
    let eos = specials.eos.clone().unwrap_or_else(|| EOS.into());
    let id = |role, token: &String| {
        vocab
            .get(token)
            .copied()
            .ok_or_else(|| TokenizerError::UnknownSpecial {
                path: vocab_path.to_path_buf(),
                role,
                token: token.clone(),
            })
    };
    let (cls, sep) = ((bos.clone(), id("start", &bos)?), (eos.clone(), id("end", &eos)?));
    let unk = specials.unk.clone().unwrap_or_else(|| eos.clone());
    let bpe = BPE::builder()
        .vocab_and_merges(
            vocab.into_iter().collect::<tokenizers::models::bpe::Vocab>(),
            merges,
        )
        .unk_token(unk)
        .end_of_word_suffix("</w>".into())
        .build()
        .map_err(|e| bad_merges(format!("does not fit {}: {e}", vocab_path.display())))?;

    let spaces =
        Replace::new(ReplacePattern::Regex(r"\s+".into()), " ").map_err(|e| bad_vocab(e.to_string()))?;
    let words = Split::new(
        SplitPattern::Regex(WORDS.into()),
        SplitDelimiterBehavior::Removed,
        true,
    )
    .map_err(|e| bad_vocab(e.to_string()))?;
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    tokenizer
        .with_normalizer(Some(normalizers::Sequence::new(vec![
            NFC.into(),
            spaces.into(),
            Lowercase.into(),
        ])))
        .map_err(|e| bad_vocab(e.to_string()))?
        .with_pre_tokenizer(Some(Sequence::new(vec![
            words.into(),
            ByteLevel::new(false, true, true).into(),
        ])))
        .with_post_processor(Some(
            RobertaProcessing::new(sep, cls)
                .trim_offsets(false)
                .add_prefix_space(false),
        ));
    let special = |token: &str| AddedToken::from(token.to_string(), true).normalized(false);
    tokenizer
        .add_special_tokens([special(&bos), special(&eos)])
        .map_err(|e| bad_vocab(e.to_string()))?;
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word-level tokenizer of the kind a built-in world ships.
    fn small() -> Value {
        let added: Vec<Value> = ["<pad>", "<start>", "<end>"]
            .iter()
            .enumerate()
            .map(|(id, token)| {
                serde_json::json!({"id": id, "content": token, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": true})
            })
            .collect();
        serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": {"type": "Whitespace"}, "decoder": null,
            "added_tokens": added,
            "post_processor": {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<start>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                           {"SpecialToken": {"id": "<end>", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<start>": {"id": "<start>", "ids": [1], "tokens": ["<start>"]},
                                   "<end>": {"id": "<end>", "ids": [2], "tokens": ["<end>"]}}},
            "model": {"type": "WordLevel", "unk_token": "<unk>",
                "vocab": {"<pad>": 0, "<start>": 1, "<end>": 2, "<unk>": 3, "a": 4, "red": 5, "dog": 6}}
        })
    }

    fn folder(files: &[(&str, String)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("written");
        }
        dir
    }

    fn refused(dir: &tempfile::TempDir) -> String {
        let error = Tokenizer::load(dir.path(), 8)
            .expect_err("must be refused")
            .to_string();
        error.replace(&dir.path().display().to_string(), "DIR")
    }

    #[test]
    fn a_word_level_tokenizer_with_its_own_specials() {
        let map = r#"{"pad_token": "<pad>", "eos_token": {"content": "<end>"}}"#;
        let dir = folder(&[
            ("tokenizer.json", small().to_string()),
            ("special_tokens_map.json", map.into()),
        ]);
        let t = Tokenizer::load(dir.path(), 6).expect("loads");
        assert_eq!(
            (t.bos(), t.eos(), t.pad(), t.n_text(), t.n_vocab()),
            (1, 2, 0, 6, 7)
        );
        let tokens = t.encode("A RED cat").expect("encodes");
        assert_eq!(
            tokens,
            Tokens {
                ids: vec![1, 4, 5, 3, 2, 0],
                n_valid: 5,
                n_words_cut: 0
            }
        );
        assert_eq!(tokens.mask(), [true, true, true, true, true, false]);
        let long = t.encode("a red dog a red dog dog").expect("encodes");
        assert_eq!(
            long,
            Tokens {
                ids: vec![1, 4, 5, 6, 4, 2],
                n_valid: 6,
                n_words_cut: 3
            }
        );
        let batch = t.encode_batch(&["", "dog"]).expect("encodes");
        assert_eq!(batch[0].ids, [1, 2, 0, 0, 0, 0]);
        assert_eq!(batch[1].ids, [1, 6, 2, 0, 0, 0]);
    }

    #[test]
    fn padding_falls_back_to_the_end_token() {
        let dir = folder(&[("tokenizer.json", small().to_string())]);
        assert_eq!(
            Tokenizer::load(dir.path(), 4)
                .expect("loads")
                .encode("dog")
                .expect("encodes")
                .ids,
            [1, 6, 2, 2]
        );
    }

    #[test]
    fn messages_name_the_file() {
        assert_eq!(
            refused(&folder(&[])),
            "DIR: no tokenizer here: expected tokenizer.json, or vocab.json and merges.txt"
        );
        let map = r#"{"pad_token": "<nothing>"}"#.to_string();
        let dir = folder(&[
            ("tokenizer.json", small().to_string()),
            ("special_tokens_map.json", map),
        ]);
        assert_eq!(
            refused(&dir),
            "DIR: padding token \"<nothing>\" is not in the vocabulary"
        );
        let dir = folder(&[
            ("tokenizer.json", small().to_string()),
            ("special_tokens_map.json", "{".into()),
        ]);
        assert!(refused(&dir).starts_with("DIR/special_tokens_map.json is not valid JSON"));
        let mut bare = small();
        bare["post_processor"] = Value::Null;
        let dir = folder(&[("tokenizer.json", bare.to_string())]);
        assert_eq!(
            refused(&dir),
            "DIR/tokenizer.json: an empty text must give the start and end tokens, it gives []"
        );
        let vocab = r#"{"a": 0, "b": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}"#.to_string();
        let dir = folder(&[
            ("vocab.json", vocab.clone()),
            ("merges.txt", "#version: 0.2\na b c\n".into()),
        ]);
        assert_eq!(
            refused(&dir),
            "DIR/merges.txt: line 2: expected two symbols, found \"a b c\""
        );
        let dir = folder(&[("vocab.json", vocab), ("merges.txt", "a b\n".into())]);
        assert!(
            refused(&dir).starts_with("DIR/merges.txt: does not fit DIR/vocab.json"),
            "{}",
            refused(&dir)
        );
        let dir = folder(&[
            ("vocab.json", r#"{"a": 0}"#.into()),
            ("merges.txt", String::new()),
        ]);
        assert_eq!(
            refused(&dir),
            "DIR/vocab.json: start token \"<|startoftext|>\" is not in the vocabulary"
        );
        assert!(
            Tokenizer::load("no/such", 1)
                .expect_err("too short")
                .to_string()
                .contains("no room")
        );
    }
}
