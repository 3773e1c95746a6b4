//! What a page or a program asks for: the parameters of a URL or a form, checked against their limits.

use std::fmt::Write as _;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::catalogue::Catalogue;
use crate::files;

/// Characters of a prompt.
pub const MAX_PROMPT: usize = 300;
/// Priors of a request.
pub const MAX_PRIORS: usize = 12;
/// Images of a prior, or frames of an interpolation.
pub const MAX_IMAGES: usize = 16;
/// Images of a request, over all its priors.
pub const MAX_DRAWN: usize = 64;
/// Steps of the decoder or of a diffusion prior.
pub const MAX_STEPS: usize = 200;
/// Guidance scales.
pub const MAX_GUIDANCE: f64 = 30.0;
/// Characters of a value that an error message quotes.
const MAX_QUOTED: usize = 40;

/// The parameters, in the order of a URL.
pub(super) const KEYS: [&str; 9] = [
    "prompt",
    "to",
    "prior",
    "images",
    "seed",
    "steps",
    "guidance",
    "prior_steps",
    "prior_guidance",
];

/// Images of each prior where the parameter is absent.
pub(super) const DEFAULT_IMAGES: usize = 4;
/// Frames of an interpolation where the parameter is absent.
pub(super) const DEFAULT_FRAMES: usize = 7;

/// A parameter that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct BadRequest {
    /// The parameter.
    pub key: String,
    /// What is wrong with it, and what is expected.
    pub reason: String,
}

impl BadRequest {
    fn new(key: &str, reason: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            reason: reason.into(),
        }
    }
}

/// Sampling; what is absent is the prior's or the decoder's own.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Steps of the decoder.
    pub steps: Option<usize>,
    /// Guidance scale of the decoder; up to 1 is none.
    pub guidance: Option<f64>,
    /// Steps of a diffusion prior.
    pub prior_steps: Option<usize>,
    /// Guidance scale of a diffusion prior; up to 1 is none.
    pub prior_guidance: Option<f64>,
}

/// A checked request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawRequest {
    /// The prompt.
    pub prompt: String,
    /// A second prompt: the images are then an interpolation from the first to the second.
    pub to: Option<String>,
    /// Ids of the priors, in the order of the catalogue.
    pub priors: Vec<String>,
    /// Images of each prior, or frames of the interpolation.
    pub images: usize,
    /// Seed of the first image; each further image adds 1. The frames of an interpolation share it.
    pub seed: u32,
    /// Steps and guidance.
    pub sampling: Sampling,
}

impl DrawRequest {
    /// Checks the parameters `pairs` of a URL or a form. An empty value counts as absent.
    ///
    /// # Errors
    /// [`BadRequest`] with the first parameter that is unknown, repeated, out of its range or unknown to the catalogue.
    pub fn parse(pairs: &[(String, String)], catalogue: &Catalogue) -> Result<Self, BadRequest> {
        for (key, _) in pairs {
            if !KEYS.contains(&key.as_str()) {
                let reason = format!("unknown parameter: expected {}", KEYS.join(", "));
                return Err(BadRequest::new(&quoted(key), reason));
            }
            if key != "prior" && pairs.iter().filter(|(other, _)| other == key).count() > 1 {
                return Err(BadRequest::new(key, "expected once, found several times"));
            }
        }
        let get = |key: &str| {
            let found = pairs.iter().find(|(other, _)| other == key);
            found
                .map(|(_, value)| value.trim())
                .filter(|value| !value.is_empty())
        };
        let prompt = get("prompt").ok_or_else(|| {
            BadRequest::new(
                "prompt",
                format!("expected a prompt, such as \"{}\"", catalogue.example),
            )
        })?;
        let prompt = checked_prompt("prompt", prompt, catalogue)?;
        let to = get("to")
            .map(|to| checked_prompt("to", to, catalogue))
            .transpose()?;
        let asked: Vec<&str> = pairs
            .iter()
            .filter(|(key, value)| key == "prior" && !value.trim().is_empty())
            .map(|(_, value)| value.trim())
            .collect();
        for id in &asked {
            if catalogue.system(id).is_none() {
                let reason = format!(
                    "{} is not one of the priors that this playground offers; reload the page for its list",
                    quoted(id)
                );
                return Err(BadRequest::new("prior", reason));
            }
        }
        let ids = catalogue.systems.iter().map(|system| &system.id);
        let priors: Vec<String> = ids.filter(|id| asked.contains(&id.as_str())).cloned().collect();
        if priors.is_empty() {
            return Err(BadRequest::new("prior", "expected at least one prior: tick one"));
        }
        if priors.len() > MAX_PRIORS {
            let reason = format!("expected at most {MAX_PRIORS} priors, found {}", priors.len());
            return Err(BadRequest::new("prior", reason));
        }
        let (fewest, images) = match to {
            Some(_) => (2, DEFAULT_FRAMES),
            None => (1, DEFAULT_IMAGES),
        };
        let images = number("images", get("images"), fewest, MAX_IMAGES)?.unwrap_or(images);
        if images * priors.len() > MAX_DRAWN {
            let reason = format!(
                "expected at most {MAX_DRAWN} images together, found {images} for each of {} priors",
                priors.len()
            );
            return Err(BadRequest::new("images", reason));
        }
        Ok(Self {
            prompt,
            to,
            priors,
            images,
            seed: number("seed", get("seed"), 0, u32::MAX)?.unwrap_or(0),
            sampling: Sampling {
                steps: number("steps", get("steps"), 1, MAX_STEPS)?,
                guidance: number("guidance", get("guidance"), 0.0, MAX_GUIDANCE)?,
                prior_steps: number("prior_steps", get("prior_steps"), 1, MAX_STEPS)?,
                prior_guidance: number("prior_guidance", get("prior_guidance"), 0.0, MAX_GUIDANCE)?,
            },
        })
    }

    /// The parameters, as [`DrawRequest::parse`] takes them; equal requests have equal ones.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = vec![("prompt".to_owned(), self.prompt.clone())];
        let mut add = |key: &str, value: Option<String>| pairs.extend(value.map(|value| (key.into(), value)));
        add("to", self.to.clone());
        for prior in &self.priors {
            add("prior", Some(prior.clone()));
        }
        add("images", Some(self.images.to_string()));
        add("seed", Some(self.seed.to_string()));
        add("steps", self.sampling.steps.map(|n| n.to_string()));
        add("guidance", self.sampling.guidance.map(|x| x.to_string()));
        add("prior_steps", self.sampling.prior_steps.map(|n| n.to_string()));
        add(
            "prior_guidance",
            self.sampling.prior_guidance.map(|x| x.to_string()),
        );
        pairs
    }

    /// The shareable part of a URL, after `?`.
    pub fn query(&self) -> String {
        const KEPT: &AsciiSet = &NON_ALPHANUMERIC
            .remove(b'-')
            .remove(b'_')
            .remove(b'.')
            .remove(b'~');
        let mut query = String::new();
        for (key, value) in self.pairs() {
            let joint = if query.is_empty() { "" } else { "&" };
            // Writing to a string cannot fail.
            let _ = write!(query, "{joint}{key}={}", utf8_percent_encode(&value, KEPT));
        }
        query
    }

    /// The id of the result: 16 hexadecimal digits, a hash of the request and of the weights that answer it.
    pub fn id(&self, catalogue: &Catalogue) -> String {
        let mut text = format!("{}\n{}\n", catalogue.identity, self.query());
        for system in self.priors.iter().filter_map(|id| catalogue.system(id)) {
            text += &format!("{} {}\n", system.id, system.identity);
        }
        files::sha256(text.as_bytes())[..16].to_owned()
    }

    /// The fraction of the way to the second prompt at which frame `i` is.
    pub fn at(&self, i: usize) -> f64 {
        i as f64 / (self.images.max(2) - 1) as f64
    }

    /// The seed of image `i`.
    pub fn seed_of(&self, i: usize) -> u64 {
        match self.to {
            Some(_) => self.seed.into(),
            None => u64::from(self.seed) + i as u64,
        }
    }

    /// The prompt or prompts, as a title.
    pub fn title(&self) -> String {
        match &self.to {
            None => self.prompt.clone(),
            Some(to) => format!("{} → {to}", self.prompt),
        }
    }
}

/// A prompt without control characters, of at most [`MAX_PROMPT`] characters, with words that the text tower knows.
fn checked_prompt(key: &str, prompt: &str, catalogue: &Catalogue) -> Result<String, BadRequest> {
    let n = prompt.chars().count();
    if n > MAX_PROMPT {
        let reason = format!("expected at most {MAX_PROMPT} characters, found {n}");
        return Err(BadRequest::new(key, reason));
    }
    if prompt.chars().any(char::is_control) {
        return Err(BadRequest::new(
            key,
            "expected one line without control characters",
        ));
    }
    (catalogue.check)(prompt).map_err(|reason| BadRequest::new(key, reason))?;
    Ok(prompt.to_owned())
}

fn number<T: FromStr + PartialOrd + std::fmt::Display + Copy>(
    key: &str,
    value: Option<&str>,
    least: T,
    most: T,
) -> Result<Option<T>, BadRequest> {
    let Some(value) = value else { return Ok(None) };
    match value.parse::<T>() {
        Ok(number) if number >= least && number <= most => Ok(Some(number)),
        _ => {
            let reason = format!(
                "expected a number from {least} to {most}, found {}",
                quoted(value)
            );
            Err(BadRequest::new(key, reason))
        }
    }
}

/// The start of a value, in quotes and with control characters escaped.
fn quoted(value: &str) -> String {
    let start: String = value.chars().take(MAX_QUOTED).collect();
    let rest = if start.len() < value.len() { ".." } else { "" };
    format!("{start:?}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::catalogue::tests::catalogue;

    fn parse(text: &str) -> Result<DrawRequest, String> {
        let pairs: Vec<(String, String)> = text
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        DrawRequest::parse(&pairs, &catalogue()).map_err(|e| e.to_string())
    }

    #[test]
    fn every_parameter_has_a_limit_and_a_message() {
        let long = "x".repeat(MAX_PROMPT + 1);
        for (text, expected) in [
            (
                "prompt= &prior=a",
                "prompt: expected a prompt, such as \"a red car\"",
            ),
            (
                &format!("prompt={long}&prior=a"),
                "prompt: expected at most 300 characters, found 301",
            ),
            (
                "prompt=a\u{7}&prior=a",
                "prompt: expected one line without control characters",
            ),
            ("prompt=wrong&prior=a", "prompt: wrong is unknown"),
            ("prompt=x&to=wrong&prior=a", "to: wrong is unknown"),
            ("prompt=x", "prior: expected at least one prior: tick one"),
            (
                "prompt=x&prior=../../etc",
                "prior: \"../../etc\" is not one of the priors that this playground offers; reload the page for its list",
            ),
            (
                "prompt=x&prior=a&images=17",
                "images: expected a number from 1 to 16, found \"17\"",
            ),
            (
                "prompt=x&to=y&prior=a&images=1",
                "images: expected a number from 2 to 16, found \"1\"",
            ),
            (
                "prompt=x&prior=a&prior=b&prior=c&prior=d&prior=e&images=16",
                "images: expected at most 64 images together, found 16 for each of 5 priors",
            ),
            (
                "prompt=x&prior=a&seed=-1",
                "seed: expected a number from 0 to 4294967295, found \"-1\"",
            ),
            (
                "prompt=x&prior=a&guidance=nan",
                "guidance: expected a number from 0 to 30, found \"nan\"",
            ),
            (
                "prompt=x&prior=a&steps=0",
                "steps: expected a number from 1 to 200, found \"0\"",
            ),
            (
                "prompt=x&prior=a&prior_guidance=1e9",
                "prior_guidance: expected a number from 0 to 30, found \"1e9\"",
            ),
            (
                "prompt=x&prompt=y&prior=a",
                "prompt: expected once, found several times",
            ),
        ] {
            assert_eq!(parse(text).expect_err("refused"), expected, "{text:.60}");
        }
        let unknown = parse("prompt=x&out=/etc/passwd").expect_err("refused");
        assert!(
            unknown.starts_with("\"out\": unknown parameter: expected prompt, to, "),
            "{unknown}"
        );
        let many: String = ('a'..='m').map(|id| format!("&prior={id}")).collect();
        assert_eq!(
            parse(&format!("prompt=x&images=1{many}")),
            Err("prior: expected at most 12 priors, found 13".into())
        );
    }

    #[test]
    fn a_url_restores_its_request() {
        let text = "prompt=50% <b>&to=é\"'&prior=b&prior=a&images=3&seed=7&guidance=1.5&prior_steps=9";
        let request = parse(text).expect("valid");
        assert_eq!(request.priors, ["a", "b"], "in the order of the catalogue");
        assert_eq!(
            request.query(),
            "prompt=50%25%20%3Cb%3E&to=%C3%A9%22%27&prior=a&prior=b&images=3&seed=7&guidance=1.5&prior_steps=9"
        );
        assert_eq!(
            DrawRequest::parse(&request.pairs(), &catalogue()),
            Ok(request.clone())
        );
        let id = request.id(&catalogue());
        assert!(
            id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{id}"
        );
        let other = DrawRequest { seed: 8, ..request };
        assert_ne!(other.id(&catalogue()), id);
    }
}
