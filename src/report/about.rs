//! The `README.md` of an experiment, as HTML.

use std::path::{Component, Path};

use maud::{Markup, PreEscaped};
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use crate::files::{self, FileError};

/// The `README.md` of an experiment: title, claim, and the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Its heading, empty without one.
    pub title: String,
    /// First paragraph, as Markdown.
    claim: String,
    /// The remaining text, as Markdown.
    rest: String,
    /// Where relative links lead.
    links: Links,
}

/// Where relative links of an experiment's README lead from a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Links {
    /// Nowhere: the page lies elsewhere.
    #[default]
    Nowhere,
    /// To files, by this relative path from the page to the experiment's folder, such as `../`.
    Folder(String),
    /// To the pages of the site, see [`super::write_site`].
    Site,
}

impl About {
    /// Reads `README.md` in `folder` for a report in `out`. A missing file gives an empty value.
    ///
    /// # Errors
    /// [`FileError`] if the file exists and cannot be read.
    pub fn read(folder: &Path, out: &Path) -> Result<Self, FileError> {
        let path = folder.join("README.md");
        if !path.is_file() {
            return Ok(Self::default());
        }
        Ok(Self {
            links: way_up(folder, out).map_or(Links::Nowhere, Links::Folder),
            ..Self::of(&files::read_text(path)?)
        })
    }

    /// The parts of a page.
    fn of(markdown: &str) -> Self {
        let text = markdown.trim_start();
        let (title, text) = match text.strip_prefix("# ") {
            Some(rest) => rest.split_once('\n').unwrap_or((rest, "")),
            None => ("", text),
        };
        let (claim, rest) = text.trim_start().split_once("\n\n").unwrap_or((text, ""));
        Self {
            title: title.trim().to_owned(),
            claim: claim.trim().to_owned(),
            rest: rest.trim().to_owned(),
            links: Links::Nowhere,
        }
    }

    /// The same for a page of the site.
    pub(super) fn on_site(self) -> Self {
        Self {
            links: Links::Site,
            ..self
        }
    }

    /// Its heading; without one, `name`.
    pub(super) fn title_or<'a>(&'a self, name: &'a str) -> &'a str {
        if self.title.is_empty() { name } else { &self.title }
    }

    /// The first paragraph as HTML.
    pub(super) fn claim(&self) -> Markup {
        self.render(&self.claim)
    }

    /// The remaining text as HTML, `None` if there is none.
    pub(super) fn rest(&self) -> Option<Markup> {
        (!self.rest.is_empty()).then(|| self.render(&self.rest))
    }

    /// Markdown as self-contained HTML: images and raw HTML are left out, wide tables can be scrolled.
    pub(super) fn render(&self, markdown: &str) -> Markup {
        let (mut events, mut is_linked) = (Vec::new(), false);
        for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => (),
                Event::Html(_) | Event::InlineHtml(_) => (),
                Event::Start(Tag::Link {
                    link_type,
                    dest_url,
                    title,
                    id,
                }) => {
                    // Links cannot be nested.
                    is_linked = false;
                    if let Some(dest_url) = self.link(&dest_url) {
                        is_linked = true;
                        events.push(Event::Start(Tag::Link {
                            link_type,
                            dest_url,
                            title,
                            id,
                        }));
                    }
                }
                Event::End(TagEnd::Link) if !is_linked => (),
                Event::Start(Tag::Heading {
                    level,
                    id,
                    classes,
                    attrs,
                }) => {
                    let level = lower(level);
                    events.push(Event::Start(Tag::Heading {
                        level,
                        id,
                        classes,
                        attrs,
                    }));
                }
                Event::End(TagEnd::Heading(level)) => events.push(Event::End(TagEnd::Heading(lower(level)))),
                Event::Start(Tag::Table(columns)) => {
                    events.push(Event::Html("<div class=\"scroll\">".into()));
                    events.push(Event::Start(Tag::Table(columns)));
                }
                Event::End(TagEnd::Table) => {
                    events.push(Event::End(TagEnd::Table));
                    events.push(Event::Html("</div>".into()));
                }
                other => events.push(other),
            }
        }
        let mut text = String::new();
        html::push_html(&mut text, events.into_iter());
        PreEscaped(text)
    }

    /// The target of a link from the page; `None` if it cannot be followed, or would execute a script.
    fn link<'a>(&self, to: &CowStr<'a>) -> Option<CowStr<'a>> {
        if self.links == Links::Nowhere {
            return None;
        }
        // Browsers remove these characters before they parse the scheme.
        let address: String = to.chars().filter(|c| !c.is_control()).collect();
        let address = address.trim();
        let before = address.split(['/', '?', '#']).next().unwrap_or_default();
        match before.split_once(':') {
            Some((scheme, _)) => ["https", "http", "mailto"]
                .iter()
                .any(|known| scheme.eq_ignore_ascii_case(known))
                .then(|| address.to_owned().into()),
            None if address.starts_with(['#', '/']) => Some(address.to_owned().into()),
            None => match &self.links {
                Links::Folder(base) => Some(format!("{base}{address}").into()),
                _ => site_page(address).map(CowStr::from),
            },
        }
    }
}

/// The page of the site for a link from one experiment's README to that of another, as in `../lambda/README.md`; `None` for other files, which the site
/// does not have.
fn site_page(address: &str) -> Option<String> {
    let name = address.split('#').next()?.strip_prefix("../")?;
    let name = name
        .strip_suffix("/README.md")
        .or_else(|| name.strip_suffix('/'))?;
    (!name.is_empty() && !name.contains(['/', '.'])).then(|| format!("../{name}/index.html"))
}

/// One level lower, because the page has its own heading.
fn lower(level: HeadingLevel) -> HeadingLevel {
    HeadingLevel::try_from(level as usize + 1).unwrap_or(level)
}

/// `../` for each level of `out` below `folder`; `None` if `out` is elsewhere.
fn way_up(folder: &Path, out: &Path) -> Option<String> {
    let below = out.strip_prefix(folder).ok()?;
    let plain = |c: Component<'_>| matches!(c, Component::Normal(_));
    below
        .components()
        .all(plain)
        .then(|| "../".repeat(below.components().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# toy: does it?\n\n**OrderClaim** ([paper](https://arxiv.org), [log](../LOG.md)):\n`a` < b.\n\n## Design\n\n\
        | a |\n|---|\n| 1 |\n\n![plot](results/scores.svg) <script>alert(1)</script>\n";

    #[test]
    fn parts_of_a_page() {
        let about = About::of(PAGE);
        assert_eq!(about.title, "toy: does it?");
        // Without a base, links become text.
        assert_eq!(
            about.claim().0,
            "<p><strong>OrderClaim</strong> (paper, log):\n<code>a</code> &lt; b.</p>\n"
        );
        let about = About {
            links: Links::Folder("../".into()),
            ..about
        };
        let claim = about.claim().0;
        assert!(
            claim.contains("<a href=\"https://arxiv.org\">paper</a>"),
            "{claim}"
        );
        assert!(claim.contains("<a href=\"../../LOG.md\">log</a>"), "{claim}");
        let rest = about.rest().expect("there is more").0;
        assert!(
            rest.starts_with("<h3>Design</h3>\n<div class=\"scroll\"><table>"),
            "{rest}"
        );
        assert!(!rest.contains("<img") && !rest.contains("<script"), "{rest}");
        assert_eq!(About::of("only words").claim().0, "<p>only words</p>\n");
    }

    #[test]
    fn links_lead_somewhere_and_run_nothing() {
        let linked = |to: &str| {
            let about = About {
                links: Links::Folder("../".into()),
                ..About::of(&format!("# t\n\na [b]({to}) c"))
            };
            about.claim().0
        };
        for (to, expected) in [
            ("HTTPS://arxiv.org/a:b", "HTTPS://arxiv.org/a:b"),
            ("mailto:a@b.c", "mailto:a@b.c"),
            ("#here", "#here"),
            ("a/b:c.md", "../a/b:c.md"),
        ] {
            assert!(
                linked(to).contains(&format!("<a href=\"{expected}\">b</a>")),
                "{}",
                linked(to)
            );
        }
        for to in [
            "javascript:alert(1)",
            "JavaScript://%0aalert(1)",
            "java&#x9;script:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
        ] {
            assert_eq!(linked(to), "<p>a b c</p>\n", "{to}");
        }
    }

    #[test]
    fn links_of_the_site_lead_to_its_pages() {
        let page = |to: &str| site_page(to);
        assert_eq!(
            page("../lambda/README.md#x").as_deref(),
            Some("../lambda/index.html")
        );
        for to in [
            "../LOG.md",
            "../../docs/README.md",
            "results/",
            "../../x/README.md",
            "../",
        ] {
            assert_eq!(page(to), None, "{to}");
        }
    }

    #[test]
    fn the_way_from_a_report_to_its_experiment() {
        let way = |folder: &str, out: &str| way_up(Path::new(folder), Path::new(out));
        assert_eq!(
            way("experiments/a", "experiments/a/results").as_deref(),
            Some("../")
        );
        assert_eq!(way("experiments/a", "runs/a/results"), None);
    }
}
