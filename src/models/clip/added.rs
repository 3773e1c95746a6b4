//! Tokens that were added to a vocabulary after it was made, and settings of a tokenizer that change its ids.
//!
//! Reference: transformers `PreTrainedTokenizerBase._from_pretrained`: `added_tokens_decoder` of `tokenizer_config.json`, `added_tokens.json`, and the
//! `additional_special_tokens` of either side file.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tokenizers::AddedToken;

use super::error::TokenizerError;
use crate::config::{ConfigError, read_json};

/// What side files add.
#[derive(Debug, Default)]
pub(super) struct AddedTokens {
    /// By id.
    numbered: BTreeMap<u32, AddedToken>,
    /// Those that get the next free ids, where they are not in the vocabulary.
    special: Vec<AddedToken>,
    /// Padding and unknown token: where they are in the vocabulary, a text that has them has their ids (`!` of some OpenCLIP models).
    roles: Vec<AddedToken>,
}

impl AddedTokens {
    /// Reads the side files in `folder`.
    ///
    /// # Errors
    /// [`TokenizerError::Malformed`] naming file and key, also for a setting that would make other ids and is not supported.
    pub(super) fn read(folder: &Path, n_text: usize) -> Result<Self, TokenizerError> {
        let mut added = Self::default();
        let mut roles: BTreeMap<&str, AddedToken> = BTreeMap::new();
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            let path = folder.join(name);
            if !path.is_file() {
                continue;
            }
            let wrong = |key: &str, expected: String, found: &Value| {
                ConfigError::value(path.display(), key, expected, found)
            };
            let config: Value = read_json(&path)?;
            for (key, supported) in [("padding_side", "right"), ("truncation_side", "right")] {
                if let Some(found) = config.get(key).filter(|v| !v.is_null() && *v != supported) {
                    let expected = format!("{supported:?} (the other side is not supported)");
                    return Err(wrong(key, expected, found).into());
                }
            }
            if let Some(found) = config
                .get("split_special_tokens")
                .filter(|v| **v == Value::Bool(true))
            {
                let expected = "false (true is not supported)".into();
                return Err(wrong("split_special_tokens", expected, found).into());
            }
            if let Some(found) = config.get("model_max_length")
                && found.as_f64().is_some_and(|n| n < n_text as f64)
            {
                let expected = format!("the {n_text} tokens that the text tower reads, or more");
                return Err(wrong("model_max_length", expected, found).into());
            }
            if let Some(decoder) = config.get("added_tokens_decoder").filter(|v| !v.is_null()) {
                let map = decoder
                    .as_object()
                    .ok_or_else(|| wrong("added_tokens_decoder", "an object".into(), decoder))?;
                for (id, entry) in map {
                    let id = id.parse::<u32>().ok();
                    let (Some(id), Some(token)) = (id, token(entry, false)) else {
                        let expected = "ids with a content each".into();
                        return Err(wrong("added_tokens_decoder", expected, entry).into());
                    };
                    added.numbered.insert(id, token);
                }
            }
            for key in ["pad_token", "unk_token"] {
                // The second file goes before the first.
                if let Some(token) = config.get(key).and_then(|entry| token(entry, true)) {
                    roles.insert(key, token);
                }
            }
            let special = config.get("additional_special_tokens").and_then(Value::as_array);
            added.special.extend(
                special
                    .into_iter()
                    .flatten()
                    .filter_map(|entry| token(entry, true)),
            );
        }
        added.roles.extend(roles.into_values());
        let path = folder.join("added_tokens.json");
        if path.is_file() {
            let ids: BTreeMap<String, u32> = read_json(&path)?;
            for (content, id) in ids {
                let is_special = added.special.iter().any(|token| token.content == content);
                let one = AddedToken::from(content, is_special).normalized(!is_special);
                added.numbered.entry(id).or_insert(one);
            }
        }
        Ok(added)
    }

    /// Adds them to `tokenizer`.
    ///
    /// # Errors
    /// [`TokenizerError::Malformed`] where a token cannot get its id.
    pub(super) fn add_to(
        self,
        tokenizer: &mut tokenizers::Tokenizer,
        folder: &Path,
    ) -> Result<(), TokenizerError> {
        let wrong = |reason: String| TokenizerError::Malformed {
            path: folder.to_path_buf(),
            reason,
        };
        for (id, token) in self.numbered {
            let content = token.content.clone();
            if tokenizer.get_added_vocabulary().get_vocab().get(&content) != Some(&id) {
                tokenizer.add_tokens([token]).map_err(|e| wrong(e.to_string()))?;
            }
            let found = tokenizer.token_to_id(&content);
            if found != Some(id) {
                let found = found.map_or("none".into(), |found| found.to_string());
                return Err(wrong(format!(
                    "the added token {content:?} should have id {id}, the vocabulary gives it {found}"
                )));
            }
        }
        let roles = self
            .roles
            .into_iter()
            .filter(|token| tokenizer.token_to_id(&token.content).is_some());
        let new: Vec<AddedToken> = roles
            .chain(self.special)
            .filter(|token| {
                !tokenizer
                    .get_added_vocabulary()
                    .get_vocab()
                    .contains_key(&token.content)
            })
            .collect();
        tokenizer
            .add_special_tokens(new)
            .map_err(|e| wrong(e.to_string()))?;
        Ok(())
    }
}

/// A token as a text, or as an object with its flags.
fn token(entry: &Value, special: bool) -> Option<AddedToken> {
    if let Some(content) = entry.as_str() {
        return Some(AddedToken::from(content.to_owned(), special).normalized(!special));
    }
    let flag = |key: &str, default: bool| entry.get(key).and_then(Value::as_bool).unwrap_or(default);
    let special = flag("special", special);
    let content = entry.get("content")?.as_str()?.to_owned();
    let token = AddedToken::from(content, special)
        .lstrip(flag("lstrip", false))
        .rstrip(flag("rstrip", false))
        .single_word(flag("single_word", false))
        .normalized(flag("normalized", !special));
    Some(token)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::models::clip::tokenizer::Tokenizer;

    /// Letters with byte-level BPE, without merges.
    fn folder(side: &[(&str, serde_json::Value)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        let mut vocab = serde_json::Map::new();
        for letter in 'a'..='z' {
            for piece in [letter.to_string(), format!("{letter}</w>")] {
                vocab.insert(piece, vocab.len().into());
            }
        }
        for special in ["<|startoftext|>", "<|endoftext|>"] {
            vocab.insert(special.into(), vocab.len().into());
        }
        let files = [
            ("vocab.json", serde_json::Value::Object(vocab)),
            ("merges.txt", json!(null)),
        ];
        for (name, value) in files.iter().chain(side) {
            let text = if *name == "merges.txt" {
                "#version: 0.2\n".into()
            } else {
                value.to_string()
            };
            std::fs::write(dir.path().join(name), text).expect("written");
        }
        dir
    }

    fn ids(side: &[(&str, serde_json::Value)], text: &str) -> Result<Vec<u32>, String> {
        let dir = folder(side);
        let bare = |e: String| e.replace(&dir.path().display().to_string(), "DIR");
        let tokenizer = Tokenizer::load(dir.path(), 9).map_err(|e| bare(e.to_string()))?;
        let tokens = tokenizer.encode(text).map_err(|e| e.to_string())?;
        Ok(tokens.ids[..tokens.n_valid].to_vec())
    }

    #[test]
    fn added_tokens_are_tokens() {
        let (start, end) = (52, 53);
        let wanted = Ok(vec![start, 1, 54, 1, end]);
        let entry = |special: bool| json!({"content": "<my-cat>", "lstrip": false, "normalized": true, "rstrip": false, "single_word": false, "special": special});
        for side in [
            ("added_tokens.json", json!({"<my-cat>": 54})),
            (
                "tokenizer_config.json",
                json!({"added_tokens_decoder": {"54": entry(false)}}),
            ),
            (
                "tokenizer_config.json",
                json!({"added_tokens_decoder": {"52": {"content": "<|startoftext|>", "special": true}, "54": entry(true)}}),
            ),
            (
                "special_tokens_map.json",
                json!({"additional_special_tokens": ["<my-cat>"]}),
            ),
        ] {
            assert_eq!(
                ids(std::slice::from_ref(&side), "a <my-cat> a"),
                wanted,
                "{side:?}"
            );
        }
        // Padding and unknown token are special wherever they stand, the other file's where both name one.
        let pad = |token: &str| json!({"pad_token": token});
        for (side, wanted) in [
            (vec![("special_tokens_map.json", pad("b"))], 2),
            (vec![("tokenizer_config.json", pad("b"))], 2),
            (
                vec![
                    ("tokenizer_config.json", pad("b")),
                    ("special_tokens_map.json", pad("<|endoftext|>")),
                ],
                3,
            ),
            (vec![("special_tokens_map.json", json!({"unk_token": "b"}))], 2),
        ] {
            assert_eq!(
                ids(&side, "a b a"),
                Ok(vec![start, 1, wanted, 1, end]),
                "{side:?}"
            );
        }
        assert_eq!(
            ids(&[], "a <my-cat> a").map(|ids| ids.len() > 6),
            Ok(true),
            "pieces"
        );
    }

    #[test]
    fn what_would_make_other_ids_is_refused() {
        let config = |value| ids(&[("tokenizer_config.json", value)], "a").expect_err("refused");
        assert_eq!(
            ids(&[("added_tokens.json", json!({"<my-cat>": 60}))], "a").expect_err("refused"),
            "DIR: the added token \"<my-cat>\" should have id 60, the vocabulary gives it 54"
        );
        assert_eq!(
            config(json!({"padding_side": "left"})),
            "DIR/tokenizer_config.json: padding_side: expected \"right\" (the other side is not supported), found \"left\""
        );
        assert_eq!(
            config(json!({"model_max_length": 5})),
            "DIR/tokenizer_config.json: model_max_length: expected the 9 tokens that the text tower reads, or more, found 5"
        );
        let inert = json!({"model_max_length": 1e30, "padding_side": "right", "do_lower_case": true, "errors": "replace", "anything": [1]});
        assert_eq!(ids(&[("tokenizer_config.json", inert)], "a"), Ok(vec![52, 1, 53]));
    }
}
