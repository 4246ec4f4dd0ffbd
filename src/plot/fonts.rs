//! The two bundled fonts: which characters they have and how wide those are.
//!
//! The answers come from the renderer itself, so that a figure is laid out with the very numbers it
//! is drawn with, and no font of the machine can slip in.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use resvg::usvg;
use usvg::fontdb::{Database, Source};

/// A bundled typeface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Face {
    /// Ubuntu Light: titles, labels, captions.
    Text,
    /// Hack Regular: documents, every character equally wide.
    Mono,
}

impl Face {
    /// The family name inside the font file.
    pub(super) fn family(self) -> &'static str {
        match self {
            Self::Text => "Ubuntu",
            Self::Mono => "Hack",
        }
    }
}

/// Stands for a character that the font does not have.
pub(super) const SUBSTITUTE: char = '·';

/// Options of a renderer that knows the bundled fonts and nothing else.
///
/// It never falls back from one font to the other: what a face lacks is replaced before.
pub(super) fn options() -> usvg::Options<'static> {
    static DATABASE: LazyLock<Arc<Database>> = LazyLock::new(|| {
        let mut database = Database::new();
        for font in [
            epaint_default_fonts::UBUNTU_LIGHT,
            epaint_default_fonts::HACK_REGULAR,
        ] {
            database.load_font_source(Source::Binary(Arc::new(font)));
        }
        Arc::new(database)
    });
    let mut options = usvg::Options {
        fontdb: DATABASE.clone(),
        ..Default::default()
    };
    options.font_resolver.select_fallback = Box::new(|_, _, _| None);
    options
}

/// `text` with [`SUBSTITUTE`] for every character that `face` lacks, and how many those were.
///
/// Spaces of any kind and line ends become one no-break space each, because SVG joins plain ones.
pub(super) fn drawable(face: Face, text: &str) -> (String, usize) {
    let mut missing = 0;
    let drawn = text.chars().map(|c| match c {
        _ if c.is_whitespace() => '\u{a0}',
        _ if advance(face, c).is_some() => c,
        _ => {
            missing += 1;
            SUBSTITUTE
        }
    });
    (drawn.collect(), missing)
}

/// The sentence that a caption ends with when characters were replaced; empty for none.
pub(super) fn note(missing: usize) -> String {
    match missing {
        0 => String::new(),
        1 => format!(" 1 character that the figure's fonts lack is shown as {SUBSTITUTE}."),
        _ => {
            format!(" {missing} characters that the figure's fonts lack are shown as {SUBSTITUTE}.")
        }
    }
}

/// Width of `text` at type size `size`, in px, kerning left out.
pub(super) fn width(face: Face, size: f64, text: &str) -> f64 {
    let (drawn, _) = drawable(face, text);
    drawn.chars().filter_map(|c| advance(face, c)).sum::<f64>() * size
}

/// Width of the widest of some texts, in px.
pub(super) fn widest<'a>(size: f64, texts: impl IntoIterator<Item = &'a String>) -> f64 {
    let widths = texts.into_iter().map(|text| width(Face::Text, size, text));
    widths.fold(0.0, f64::max)
}

/// Width of every character of the monospaced font, in px.
pub(super) fn column(size: f64) -> f64 {
    advance(Face::Mono, 'x').unwrap_or(0.6) * size
}

/// Whether `text` is at most `width` px wide; of a long text no more is measured than that takes.
pub(super) fn fits(face: Face, size: f64, text: &str, width: f64) -> bool {
    let mut room = width / size;
    text.chars().all(|c| {
        let drawn = if c.is_whitespace() { '\u{a0}' } else { c };
        let advance = advance(face, drawn).or_else(|| self::advance(face, SUBSTITUTE));
        room -= advance.unwrap_or(0.0);
        room >= -1e-9
    })
}

/// Advance of one character as a fraction of the type size; `None` where `face` lacks it.
pub(super) fn advance(face: Face, c: char) -> Option<f64> {
    static KNOWN: Mutex<BTreeMap<(Face, char), Option<f64>>> = Mutex::new(BTreeMap::new());
    // The cache stays valid even if a thread panicked while it held the lock.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known.entry((face, c)).or_insert_with(|| measure(face, c))
}

/// How much wider a line gets when `c` stands in it; spaces have no outline of their own to measure.
fn measure(face: Face, c: char) -> Option<f64> {
    let width = line_width(face, &format!("n&#{};n", u32::from(c)))? - line_width(face, "nn")?;
    (width > 0.001).then_some(width)
}

/// Width of XML text at type size 1; `None` where a character is missing or forbidden in XML.
fn line_width(face: Face, xml: &str) -> Option<f64> {
    const SIZE: f64 = 1000.0;
    let family = face.family();
    let svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg">
            <text font-family="{family}" font-size="{SIZE}">{xml}</text></svg>"#
    );
    let tree = usvg::Tree::from_str(&svg, &options()).ok()?;
    let Some(usvg::Node::Text(text)) = tree.root().children().first() else {
        return None;
    };
    let complete = text
        .layouted()
        .iter()
        .flat_map(|span| &span.positioned_glyphs)
        .all(|glyph| glyph.id.0 != 0);
    complete.then(|| f64::from(text.bounding_box().width()) / SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_fonts_have_what_the_figures_write() {
        for c in ('!'..='~')
            .chain(['·', '…', '×', '\u{a0}', '±'])
            .filter(|&c| c != ' ')
        {
            assert!(advance(Face::Text, c).is_some(), "{c:?} in Ubuntu");
            assert!(advance(Face::Mono, c).is_some(), "{c:?} in Hack");
        }
        assert!(advance(Face::Mono, '\u{2047}').is_some(), "the mask sign");
        assert!(
            advance(Face::Mono, '\u{25a1}').is_some(),
            "the padding sign"
        );
    }

    #[test]
    fn monospace_is_equally_wide_and_the_other_is_not() {
        assert_eq!(advance(Face::Mono, 'i'), advance(Face::Mono, 'W'));
        assert!(advance(Face::Text, 'i') < advance(Face::Text, 'W'));
    }

    #[test]
    fn missing_characters_are_replaced_and_counted() {
        for text in ["", "a b", "x漢 "] {
            let width = width(Face::Text, 14.0, text);
            assert!(fits(Face::Text, 14.0, text, width));
            assert!(!fits(Face::Text, 14.0, &format!("{text}i"), width));
        }
        let (drawn, missing) = drawable(Face::Mono, "a漢\u{1}b c");
        assert_eq!((drawn.as_str(), missing), ("a··b\u{a0}c", 2));
        assert_eq!(note(0), "");
        assert_eq!(
            note(2),
            " 2 characters that the figure's fonts lack are shown as ·."
        );
    }
}
