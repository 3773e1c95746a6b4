//! A word-level tokenizer for a closed vocabulary, in the layout of published CLIP folders.

use std::path::Path;

use serde_json::json;

use crate::files::{self, FileError};

/// Special tokens. The end of text has the largest id, so that both of CLIP's pooling rules (largest id; this id) find it.
const PAD: &str = "<|pad|>";
const UNKNOWN: &str = "<|unknown|>";
const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// Writes `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json` to the folder `dir`: lower-case, full stops dropped, one
/// token a word of `words`, unknown words one token of their own. Returns the size of the vocabulary.
///
/// # Errors
/// [`FileError`] when the disk refuses.
pub fn write_word_tokenizer(words: &[&str], n_text: usize, dir: &Path) -> Result<usize, FileError> {
    let tokens: Vec<&str> = [PAD, UNKNOWN]
        .into_iter()
        .chain(words.iter().copied())
        .chain([START, END])
        .collect();
    let id = |token: &str| tokens.iter().position(|t| *t == token);
    let vocab: serde_json::Map<_, _> = tokens
        .iter()
        .enumerate()
        .map(|(i, t)| (t.to_string(), json!(i)))
        .collect();
    let added: Vec<_> = [PAD, UNKNOWN, START, END]
        .iter()
        .map(|token| {
            json!({"id": id(token), "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let special = |token: &str| {
        (
            token.to_string(),
            json!({"id": token, "ids": [id(token)], "tokens": [token]}),
        )
    };
    let piece = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let sequence = |name: &str| json!({"Sequence": {"id": name, "type_id": u8::from(name == "B")}});
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Lowercase"},
            {"type": "Replace", "pattern": {"String": "."}, "content": ""},
        ]},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece(START), sequence("A"), piece(END)],
            "pair": [piece(START), sequence("A"), piece(END), sequence("B"), piece(END)],
            "special_tokens": serde_json::Map::from_iter([special(START), special(END)]),
        },
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": UNKNOWN},
    });
    // Through the crate that will read it: it refuses what it does not understand, and writes its own canonical form.
    let tokenizer: tokenizers::Tokenizer = tokenizer
        .to_string()
        .parse()
        .expect("the tokenizer is what the crate `tokenizers` reads");
    let text = tokenizer
        .to_string(true)
        .expect("a tokenizer that was read can be written");
    files::write_atomic(dir.join("tokenizer.json"), format!("{text}\n").as_bytes())?;
    let names = json!({"bos_token": START, "eos_token": END, "unk_token": UNKNOWN, "pad_token": PAD});
    let mut config = names.clone();
    config["tokenizer_class"] = json!("PreTrainedTokenizerFast");
    config["model_max_length"] = json!(n_text);
    for (name, value) in [
        ("special_tokens_map.json", &names),
        ("tokenizer_config.json", &config),
    ] {
        files::write_atomic(dir.join(name), format!("{value:#}\n").as_bytes())?;
    }
    Ok(tokens.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::clip::tokenizer::Tokenizer;
    use crate::world::World;

    #[test]
    fn every_prompt_of_a_world_is_tokenized_whole() {
        for world in World::ALL {
            every_prompt_is_tokenized_whole(world);
        }
    }

    fn every_prompt_is_tokenized_whole(world: World) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let context = world.context();
        let n = write_word_tokenizer(&world.vocabulary(), context, dir.path()).expect("writable");
        let tokenizer = Tokenizer::load(dir.path(), context).expect("loads as a published tokenizer does");
        assert_eq!((tokenizer.n_vocab(), tokenizer.n_text()), (n, context));
        assert_eq!(
            (
                tokenizer.eos() as usize,
                tokenizer.bos() as usize,
                tokenizer.pad()
            ),
            (n - 1, n - 2, 0)
        );
        for prompt in world.test_prompts() {
            let tokens = tokenizer.encode(&prompt.text).expect("a prompt is text");
            assert_eq!(tokens.n_words_cut, 0, "{}", prompt.text);
            assert!(!tokens.ids.contains(&1), "{}: a word is unknown", prompt.text);
            assert_eq!(tokens.n_valid, prompt.text.split_whitespace().count() + 2);
        }
        let noun = world.nouns().next().expect("a noun").word();
        let a = tokenizer.encode(&format!("A Red {noun}.")).expect("text").ids;
        assert_eq!(a, tokenizer.encode(&format!("a red {noun}")).expect("text").ids);
        assert_eq!(tokenizer.encode("a unicorn").expect("text").ids[2], 1);
    }
}
