//! From the drawn SVG to one that needs no font, and from that to a PNG.

use resvg::{tiny_skia, usvg};

use super::fonts;
use crate::error::{Error, Result};

/// Pixels of the PNG per logical pixel.
const PNG_SCALE: f32 = 2.0;

/// `svg` with text turned into outlines, with a title and a description for those who cannot see it.
pub(super) fn outline(svg: &str, title: &str, description: &str) -> Result<String> {
    let options = usvg::WriteOptions {
        coordinates_precision: 1,
        indent: usvg::Indent::None,
        ..Default::default()
    };
    let outlined = parse(svg)?.to_string(&options);
    let Some(end) = outlined.find('>') else {
        return Err(Error::run("cannot draw a figure: its SVG has no root"));
    };
    let (root, body) = outlined.split_at(end + 1);
    let (title, description) = (escape(title), escape(description));
    let root = root.trim_end_matches('>');
    Ok(format!(
        "{root} role=\"img\"><title>{title}</title><desc>{description}</desc>{body}"
    ))
}

/// The PNG of an SVG, at twice its size, on white.
pub(super) fn rasterise(svg: &str) -> Result<Vec<u8>> {
    let tree = parse(svg)?;
    let size = tree.size();
    let pixels = |length: f32| (length * PNG_SCALE).ceil() as u32;
    let mut image = tiny_skia::Pixmap::new(pixels(size.width()), pixels(size.height()))
        .ok_or_else(|| Error::run("cannot draw a figure: it has no size"))?;
    image.fill(tiny_skia::Color::WHITE);
    let scale = tiny_skia::Transform::from_scale(PNG_SCALE, PNG_SCALE);
    resvg::render(&tree, scale, &mut image.as_mut());
    image
        .encode_png()
        .map_err(|e| Error::run(format!("cannot encode a figure as PNG: {e}")))
}

fn parse(svg: &str) -> Result<usvg::Tree> {
    usvg::Tree::from_str(svg, &fonts::options())
        .map_err(|e| Error::run(format!("cannot draw a figure: {e}")))
}

/// `text` for XML, without the characters that XML forbids.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\u{fffe}' | '\u{ffff}' => {}
            _ if c.is_control() => escaped.push(' '),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_is_escaped_and_comes_first() {
        let svg = r#"<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M0 0H9V9"/></svg>"#;
        let outlined = outline(svg, "a < b & \u{1}c", "").unwrap();
        assert!(
            outlined.contains(r#"role="img"><title>a &lt; b &amp;  c</title><desc>"#),
            "{outlined}"
        );
        assert!(rasterise(&outlined).unwrap().starts_with(b"\x89PNG"));
    }

    #[test]
    fn a_broken_drawing_is_an_error() {
        let error = rasterise("<svg").unwrap_err().to_string();
        assert!(
            error.starts_with("error: cannot draw a figure: "),
            "{error}"
        );
    }
}
