//! Writes HTML of few elements and attributes. All text is escaped here, and there is no way past it: a name is one of an
//! enum, a link leads only to an [`PageAnchor`] of the page. What runs or loads something has no name.

use std::fmt::Write;

use remit_words::characters::ordered_piece;

/// The first lines of each page. A file that begins so is a report, which the next one may replace.
pub const START: &str = "<!DOCTYPE html>\n<!-- remit audit report -->\n";

const STYLE: &str = include_str!("style.css");
/// SHA-256 of the style, as the policy of the page names it. A test compares it.
const STYLE_SHA256: &str = "nrYM45Rn+FnegSnaLKCLn2su8jPolYTgg6y1vK79UP0=";

#[derive(Debug)]
pub struct Html(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    Bdi,
    Caption,
    Code,
    Dd,
    Details,
    Div,
    Dl,
    Dt,
    Figcaption,
    Figure,
    Footer,
    G,
    H1,
    H2,
    H3,
    Header,
    Li,
    Main,
    Nav,
    P,
    Rect,
    Section,
    Span,
    Strong,
    Summary,
    Svg,
    Table,
    Tbody,
    Td,
    Th,
    Thead,
    Title,
    Tr,
    Ul,
    A,
}

impl Tag {
    fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::Bdi => "bdi",
            Self::Caption => "caption",
            Self::Code => "code",
            Self::Dd => "dd",
            Self::Details => "details",
            Self::Div => "div",
            Self::Dl => "dl",
            Self::Dt => "dt",
            Self::Figcaption => "figcaption",
            Self::Figure => "figure",
            Self::Footer => "footer",
            Self::G => "g",
            Self::H1 => "h1",
            Self::H2 => "h2",
            Self::H3 => "h3",
            Self::Header => "header",
            Self::Li => "li",
            Self::Main => "main",
            Self::Nav => "nav",
            Self::P => "p",
            Self::Rect => "rect",
            Self::Section => "section",
            Self::Span => "span",
            Self::Strong => "strong",
            Self::Summary => "summary",
            Self::Svg => "svg",
            Self::Table => "table",
            Self::Tbody => "tbody",
            Self::Td => "td",
            Self::Th => "th",
            Self::Thead => "thead",
            Self::Title => "title",
            Self::Tr => "tr",
            Self::Ul => "ul",
        }
    }
}

/// A location of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageAnchor {
    Section(&'static str),
    /// A record by its number, and how many came with this number before: in a damaged audit log, some may.
    Record {
        seq: u64,
        before: u32,
    },
}

impl PageAnchor {
    fn id(self) -> String {
        match self {
            Self::Section(name) => name.to_owned(),
            Self::Record { seq, before: 0 } => format!("r{seq}"),
            Self::Record { seq, before } => format!("r{seq}-{before}"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Attribute<'a> {
    Class(&'static str),
    Id(PageAnchor),
    To(PageAnchor),
    /// What a screen reader says of a picture.
    Picture(&'a str),
    /// A picture that says nothing which is not in the text.
    Decoration,
    HeadOfColumn,
    HeadOfRow,
    At {
        x: u64,
        y: u64,
    },
    Size {
        width: u64,
        height: u64,
    },
    /// A picture of this size, stretched to its location.
    Stretched {
        width: u64,
        height: u64,
    },
}

impl Html {
    /// Returns a whole page.
    pub fn document(title: &'static str, body: impl FnOnce(&mut Self)) -> String {
        let mut html = Self(START.to_owned());
        let _ = write!(
            html.0,
            "<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'sha256-{STYLE_SHA256}'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n"
        );
        body(&mut html);
        html.0 += "</body>\n</html>\n";
        html.0
    }

    pub fn element(
        &mut self,
        tag: Tag,
        attributes: &[Attribute<'_>],
        inside: impl FnOnce(&mut Self),
    ) {
        self.0.push('<');
        self.0 += tag.name();
        for attribute in attributes {
            self.attribute(*attribute);
        }
        self.0.push('>');
        inside(self);
        let _ = write!(self.0, "</{}>", tag.name());
        if is_block(tag) {
            self.0.push('\n');
        }
    }

    /// Writes an element that has this text alone.
    pub fn line(&mut self, tag: Tag, attributes: &[Attribute<'_>], text: &str) {
        self.element(tag, attributes, |html| html.text(text));
    }

    pub fn text(&mut self, text: &str) {
        for c in text.chars() {
            self.char(c);
        }
    }

    /// Writes text of others. Its direction does not reach the text around it.
    pub fn foreign(&mut self, text: &str) {
        self.line(Tag::Bdi, &[], text);
    }

    fn attribute(&mut self, attribute: Attribute<'_>) {
        let html = &mut self.0;
        let _ = match attribute {
            Attribute::Class(name) => write!(html, " class=\"{name}\""),
            Attribute::Id(anchor) => write!(html, " id=\"{}\"", anchor.id()),
            Attribute::To(anchor) => write!(html, " href=\"#{}\"", anchor.id()),
            Attribute::HeadOfColumn => write!(html, " scope=\"col\""),
            Attribute::HeadOfRow => write!(html, " scope=\"row\""),
            Attribute::At { x, y } => write!(html, " x=\"{x}\" y=\"{y}\""),
            Attribute::Size { width, height } => {
                write!(html, " width=\"{width}\" height=\"{height}\"")
            }
            Attribute::Stretched { width, height } => write!(
                html,
                " viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\""
            ),
            Attribute::Decoration => write!(html, " aria-hidden=\"true\""),
            Attribute::Picture(label) => {
                *html += " role=\"img\" aria-label=\"";
                self.text(label);
                self.0.push('"');
                Ok(())
            }
        };
    }

    fn char(&mut self, c: char) {
        match c {
            '&' => self.0 += "&amp;",
            '<' => self.0 += "&lt;",
            '>' => self.0 += "&gt;",
            '"' => self.0 += "&quot;",
            '\'' => self.0 += "&#39;",
            ' '..='~' => self.0.push(c),
            // No escape of it has a character of HTML.
            _ => self.0 += &ordered_piece(c),
        }
    }
}

fn is_block(tag: Tag) -> bool {
    !matches!(
        tag,
        Tag::A | Tag::Bdi | Tag::Code | Tag::Span | Tag::Strong | Tag::Title
    )
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    fn body(fill: impl FnOnce(&mut Html)) -> String {
        let page = Html::document("x", fill);
        let (_, body) = page.split_once("<body>\n").unwrap();
        body.strip_suffix("</body>\n</html>\n").unwrap().to_owned()
    }

    #[test]
    fn policy_has_hash_of_style() {
        let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
        assert_eq!(STYLE_SHA256, hash, "of style.css");
        let spaces = "code, bdi { white-space: pre-wrap; }";
        assert!(STYLE.contains(spaces), "two spaces are not one");
        assert!(
            !STYLE.contains("</") && !STYLE.contains("url(") && !STYLE.contains('@')
                || STYLE.matches('@').count() == STYLE.matches("@media").count()
        );
    }

    #[test]
    fn text_is_escaped() {
        for (text, expect) in [
            ("a < b && c > d", "a &lt; b &amp;&amp; c &gt; d"),
            ("</style><script>", "&lt;/style&gt;&lt;script&gt;"),
            ("\"' onclick='x", "&quot;&#39; onclick=&#39;x"),
            ("&lt;", "&amp;lt;"),
            (
                "a\u{202e}b\u{200b}\u{2066}",
                "a\\u{202e}b\\u{200b}\\u{2066}",
            ),
            ("\0\x1b[31m\r\n\t\x7f", "\\x00\\x1b[31m\\u{d}\\n\\t\\x7f"),
            ("e\u{301} \u{a0}\u{3000}", "e\\u{301} \\u{a0}\\u{3000}"),
            ("gr\u{fc}n \u{5d0}", "gr\u{fc}n \\u{5d0}"),
        ] {
            assert_eq!(body(|html| html.text(text)), expect);
            let label = body(|html| html.line(Tag::Svg, &[Attribute::Picture(text)], ""));
            assert_eq!(
                label,
                format!("<svg role=\"img\" aria-label=\"{expect}\"></svg>\n")
            );
        }
        assert_eq!(body(|html| html.foreign("<")), "<bdi>&lt;</bdi>");
    }

    #[test]
    fn anchors_of_records_differ() {
        for (seq, before, expect) in [(7, 0, "r7"), (7, 1, "r7-1"), (71, 0, "r71")] {
            assert_eq!(PageAnchor::Record { seq, before }.id(), expect);
        }
    }
}
