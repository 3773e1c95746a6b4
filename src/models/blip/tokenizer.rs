//! Questions to token ids, as BLIP's `pre_question` and its tokenizer make them.
//!
//! bert-base-uncased's WordPiece with `[ENC]` in the place of `[CLS]`; transformers' own generation keeps `[CLS]` and gets other answers.

use std::path::Path;

use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

use super::config::MAX_TOKENS;
use super::{BlipError, BlipTextConfig};
use crate::files::{self, guarded};

/// Words of a question, at most (reference: `pre_question`).
const MAX_WORDS: usize = 50;

/// A question as BLIP's `pre_question` cleans it: lower case, some punctuation deleted, no spaces at the end, 50 words.
pub fn pre_question(question: &str) -> String {
    let kept: String = question
        .to_lowercase()
        .chars()
        .filter(|c| !r#".!"()*#:;~"#.contains(*c))
        .collect();
    let words: Vec<&str> = kept.trim_end_matches(' ').split(' ').take(MAX_WORDS).collect();
    words.join(" ")
}

/// The tokenizer of questions.
#[derive(Clone)]
pub struct QuestionTokenizer {
    inner: tokenizers::Tokenizer,
    /// `[ENC]`, which starts a question.
    pub enc: u32,
    /// `[SEP]`, which ends it.
    pub sep: u32,
    /// Padding.
    pub pad: u32,
    /// The answer "yes".
    pub yes: u32,
    /// The answer "no".
    pub no: u32,
}

impl std::fmt::Debug for QuestionTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "QuestionTokenizer(enc {}, sep {}, pad {})",
            self.enc, self.sep, self.pad
        )
    }
}

impl QuestionTokenizer {
    /// Reads `dir/tokenizer.json` or `dir/vocab.txt`.
    ///
    /// # Errors
    /// [`BlipError`]: no such file, or a vocabulary that does not fit `config`.
    pub fn load(dir: &Path, config: &BlipTextConfig) -> Result<Self, BlipError> {
        let (json, vocab) = (dir.join("tokenizer.json"), dir.join("vocab.txt"));
        let path = match (json.is_file(), vocab.is_file()) {
            (true, _) => json,
            (false, true) => vocab,
            (false, false) => return Err(BlipError::NoVocabulary(dir.to_path_buf())),
        };
        let wrong = |reason: String| BlipError::Vocabulary {
            path: path.clone(),
            reason,
        };
        let text = files::read_text(&path)?;
        let is_json = path.extension().is_some_and(|e| e == "json");
        // The crate panics at some files.
        let inner = guarded(|| match is_json {
            true => tokenizers::Tokenizer::from_bytes(&text),
            false => of_vocabulary(&text),
        });
        let inner = inner.ok_or_else(|| wrong("its tokenizer is damaged".into()))?;
        let mut inner = inner.map_err(|e| wrong(format!("no valid tokenizer: {e}")))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| wrong(e.to_string()))?;
        let (n_words, dec) = (inner.get_vocab_size(false), config.bos_token_id as usize);
        if n_words != dec {
            return Err(wrong(format!(
                "expected {dec} words, as many as come before [DEC] (`bos_token_id` in config.json), found {n_words}"
            )));
        }
        let id = |word: &str| {
            let found = inner.token_to_id(word);
            found.ok_or_else(|| wrong(format!("expected the word {word:?}, found none")))
        };
        id("[UNK]")?;
        Ok(Self {
            enc: config.bos_token_id + 1,
            sep: id("[SEP]")?,
            pad: config.pad_token_id,
            yes: id("yes")?,
            no: id("no")?,
            inner,
        })
    }

    /// The ids of a question: `[ENC]`, words, `[SEP]`; 35 at most, the last always `[SEP]`.
    ///
    /// # Errors
    /// [`BlipError::Question`].
    pub fn encode(&self, question: &str) -> Result<Vec<u32>, BlipError> {
        let failed = |reason: String| BlipError::Question {
            question: question.to_owned(),
            reason,
        };
        let encoded = self.inner.encode(pre_question(question), false);
        let encoded = encoded.map_err(|e| failed(e.to_string()))?;
        let words = encoded.get_ids().iter().copied().take(MAX_TOKENS - 2);
        Ok([self.enc].into_iter().chain(words).chain([self.sep]).collect())
    }
}

/// What transformers' `BertTokenizerFast` builds from the same file.
fn of_vocabulary(text: &str) -> tokenizers::Result<tokenizers::Tokenizer> {
    let words = WordPiece::read_bytes(text.as_bytes())?;
    let mut tokenizer = tokenizers::Tokenizer::new(WordPiece::builder().vocab(words).build()?);
    tokenizer.with_normalizer(Some(BertNormalizer::default()))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    Ok(tokenizer)
}
