//! What all pages of reports share: the document, its style, sections, plots with legends, images.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::gallery::GalleryImage;
use super::plot_style::{COLOURS, hex};

/// The style of every page.
const STYLE: &str = include_str!("style.css");
/// The content security policy: a page loads only embedded content.
pub(super) const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// A whole page; `policy` is its content security policy.
pub(super) fn document(title: &str, policy: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(policy);
                // Without an icon a browser requests one from the server.
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (body) } }
        }
    };
    page.into_string() + "\n"
}

/// A relative URL of `parts`, which are names of files and folders: special characters are escaped.
pub(super) fn href(parts: &[&str]) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    let parts = parts.iter().flat_map(|part| part.split('/'));
    parts
        .map(|part| utf8_percent_encode(part, KEPT).to_string())
        .collect::<Vec<_>>()
        .join("/")
}

/// A heading that can be linked to.
pub(super) fn section(name: &str) -> Markup {
    let id = slug(name);
    html! { h2 id=(id) { (name) " " a.anchor href=(format!("#{id}")) aria-label=(format!("Link to {name}")) { "#" } } }
}

/// Links to the sections of a page.
pub(super) fn contents(names: &[&str]) -> Markup {
    html! {
        nav.contents aria-label="Sections" {
            @for name in names { a href=(format!("#{}", slug(name))) { (name) } }
        }
    }
}

/// The id of the section `name`.
fn slug(name: &str) -> String {
    let words = name.to_lowercase();
    let words: Vec<&str> = words
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    format!("section-{}", words.join("-"))
}

/// A name that may break after underscores.
pub(super) fn breakable(name: &str) -> Markup {
    html! {
        @for word in name.split_inclusive(' ') {
            @if word.len() > 13 {
                @for (i, part) in word.split_inclusive('_').enumerate() { @if i > 0 { wbr; } (part) }
            } @else { (word) }
        }
    }
}

/// Plots with their legend. Where every colour stands for one entry, an entry can be switched off and on.
pub(super) fn plots(legend: &[(String, String)], drawn: &[(String, String)], caption: &Markup) -> Markup {
    let colours: Vec<Option<usize>> = legend.iter().map(|(_, mark)| colour_of(mark)).collect();
    let is_twice = |colour: usize| colours.iter().filter(|c| **c == Some(colour)).count() > 1;
    let has_switches = legend.len() > 1 && !(0..COLOURS.len()).any(is_twice);
    html! {
        div.plots {
            @if legend.len() > 1 {
                ul.legend {
                    @for ((name, mark), colour) in legend.iter().zip(&colours) {
                        li { @match colour {
                            Some(colour) if has_switches => {
                                label { input type="checkbox" checked value=(colour) autocomplete="off"; (PreEscaped(mark)) (name) }
                            }
                            _ => { (PreEscaped(mark)) (name) }
                        } }
                    }
                }
            }
            (panels(drawn))
            @if !caption.0.is_empty() { p.caption { (caption) } }
        }
    }
}

/// The number of the colour of a legend's mark.
fn colour_of(mark: &str) -> Option<usize> {
    COLOURS.iter().position(|colour| mark.contains(&hex(*colour)))
}

/// Plots, each with a description for screen readers.
pub(super) fn panels(drawn: &[(String, String)]) -> Markup {
    html! {
        div.panels {
            @for (name, svg) in drawn { figure { (described(name, svg)) } }
        }
    }
}

/// A plot with its description for screen readers.
pub(super) fn described(name: &str, svg: &str) -> Markup {
    let name = html! { (name) }.into_string();
    let head = format!("<svg role=\"img\" aria-label=\"{name}\" ");
    PreEscaped(svg.replacen("<svg ", &head, 1))
}

/// An image with a caption and what the checker found in it.
pub(super) fn image(shown: &GalleryImage, caption: &Markup, alt: &str) -> Markup {
    html! {
        figure.is-wrong[!shown.is_right()] {
            img src=(shown.data()) width="64" height="64" alt=(alt);
            figcaption {
                b { (caption) }
                @for (what, right) in &shown.verdict {
                    @if *right { span.yes { "✓ " (what) } " " } @else { span.no { "✗ " (what) } " " }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_a_legend_can_be_switched_where_colours_are_distinct() {
        let entry = |colour: usize| {
            let mark = format!("<svg><circle fill=\"{}\"/></svg>", hex(COLOURS[colour]));
            (format!("system {colour}"), mark)
        };
        let grey = (
            "level".to_owned(),
            "<svg><path stroke=\"#787878\"/></svg>".to_owned(),
        );
        let drawn = |legend: &[(String, String)]| plots(legend, &[], &html! {}).into_string();
        let distinct = drawn(&[entry(0), entry(3), grey.clone()]);
        assert_eq!(distinct.matches("type=\"checkbox\"").count(), 2, "{distinct}");
        assert!(distinct.contains("value=\"3\""), "{distinct}");
        for legend in [vec![entry(0), entry(0), grey], vec![entry(0)]] {
            assert!(!drawn(&legend).contains("checkbox"));
        }
        assert_eq!(slug("All metrics: 2"), "section-all-metrics-2");
        // The style has a rule for each colour.
        for (i, colour) in COLOURS.iter().enumerate() {
            let rule = format!(
                "input[value=\"{i}\"]:not(:checked)) .panels svg :is([stroke=\"{0}\"], [fill=\"{0}\"])",
                hex(*colour)
            );
            assert!(STYLE.contains(&rule), "{rule}");
        }
    }
}
