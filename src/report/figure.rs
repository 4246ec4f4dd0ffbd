//! Embedding figures in a page: the SVG inline if it is safe, or else the PNG.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use roxmltree::{Document, Node};

use crate::error::{Error, Kind, Result};

/// A figure's files.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// File name without extension.
    pub(super) name: String,
    pub(super) title: String,
    /// Caption: n, seeds, intervals.
    pub(super) caption: String,
    /// The SVG, or an image element with the PNG.
    drawing: String,
    pub(super) png: Vec<u8>,
}

impl Figure {
    /// The drawing, with `prefix` before all its ids, which must be unique on a page.
    pub(super) fn drawing(&self, prefix: &str) -> String {
        let mut drawing = self.drawing.clone();
        for before in [" id=\"", "url(#", "href=\"#"] {
            drawing = drawing.replace(before, &format!("{before}{prefix}"));
        }
        drawing
    }
}

/// SVG elements that only draw.
const ELEMENTS: &str = "svg title desc g path rect circle ellipse line polyline polygon defs clipPath \
                        linearGradient radialGradient stop use";

/// Reads `NAME.svg` and `NAME.png` in a folder; `None` if neither exists.
///
/// # Errors
/// One of them cannot be read, or exists without the other.
pub(super) fn read(folder: &Path, name: &str) -> Result<Option<Figure>> {
    let path = |ending: &str| folder.join(format!("{name}.{ending}"));
    let (svg, png) = match (bytes(&path("svg"))?, bytes(&path("png"))?) {
        (None, None) => return Ok(None),
        (Some(svg), Some(png)) => (svg, png),
        (svg, _) => {
            let missing = path(if svg.is_none() { "svg" } else { "png" });
            let error = Error::data(format!("{} is missing", missing.display()));
            return Err(error.help("`attnlab plot` redraws the figures of an experiment"));
        }
    };
    let sound = std::str::from_utf8(&svg).ok();
    let sound = sound.and_then(|svg| inline(svg, name));
    let (drawing, title, caption) = sound.unwrap_or_else(|| {
        let png = BASE64_STANDARD.encode(&png);
        // The name is letters, digits, `_` and `-`.
        let image = format!("<img src=\"data:image/png;base64,{png}\" alt=\"{name}\">");
        (image, name.to_owned(), String::new())
    });
    Ok(Some(Figure {
        name: name.to_owned(),
        title,
        caption,
        drawing,
        png,
    }))
}

/// An SVG as an element of a page, with its title and description; `None` unless it is well-formed and only
/// draws.
fn inline(svg: &str, name: &str) -> Option<(String, String, String)> {
    let document = Document::parse(svg).ok()?;
    let root = document.root_element();
    if !document.descendants().all(|node| is_harmless(&node)) || root.tag_name().name() != "svg" {
        return None;
    }
    let text = |tag: &str| {
        let mut children = root.children();
        let element = children.find(|node| node.has_tag_name((SVG, tag)));
        element
            .and_then(|node| node.text())
            .filter(|text| !text.is_empty())
    };
    let title = text("title").unwrap_or(name).to_owned();
    let caption = text("desc").unwrap_or_default().to_owned();
    let drawing = svg[root.range()].to_owned();
    let scaled = match root.attribute("viewBox") {
        Some(_) => drawing,
        // Without a viewBox browsers crop the drawing instead of scaling it.
        None => {
            let length = |side: &str| root.attribute(side)?.parse::<f64>().ok();
            let (width, height) = (length("width")?, length("height")?);
            let start = format!("<svg viewBox=\"0 0 {width} {height}\"");
            drawing.replacen("<svg", &start, 1)
        }
    };
    Some((scaled, title, caption))
}

const SVG: &str = "http://www.w3.org/2000/svg";

/// Whether a node cannot run or load anything, nor depend on the page's style.
fn is_harmless(node: &Node<'_, '_>) -> bool {
    let tag = node.tag_name();
    let draws = tag.namespace() == Some(SVG) && ELEMENTS.split(' ').any(|name| name == tag.name());
    let mut attributes = node.attributes().map(|one| (one.name(), one.value()));
    (draws || !node.is_element())
        && !node.is_pi()
        && attributes.all(|(name, value)| {
            let stays = (!name.ends_with("href") || value.starts_with('#'))
                && value.split("url(").skip(1).all(|url| url.starts_with('#'));
            stays && name != "style" && name != "class" && !name.starts_with("on")
        })
}

/// Reads a file; `None` if it does not exist.
fn bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Error::io(Kind::Data, "read", path, cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn svg(body: &str) -> String {
        format!("<svg width=\"90\" height=\"50\" xmlns=\"{SVG}\" role=\"img\">{body}</svg>")
    }

    #[test]
    fn a_drawing_is_taken_with_its_words_and_a_box_to_shrink_in() {
        let body = "<title>a &lt; b</title><desc>n = 3</desc><defs><clipPath id=\"c\"/></defs>\
                    <path clip-path=\"url(#c)\"/>";
        let (drawing, title, caption) = inline(&svg(body), "bars").expect("sound");
        assert_eq!((title.as_str(), caption.as_str()), ("a < b", "n = 3"));
        assert!(
            drawing.starts_with("<svg viewBox=\"0 0 90 50\" width"),
            "{drawing}"
        );
        let figure = Figure {
            name: "bars".to_owned(),
            title,
            caption,
            drawing,
            png: vec![],
        };
        let drawing = figure.drawing("f1-");
        assert!(
            drawing.contains("id=\"f1-c\"") && drawing.contains("url(#f1-c)"),
            "{drawing}"
        );
    }

    #[test]
    fn what_does_more_than_draw_is_not_taken() {
        for body in [
            "<script>x()</script>",
            "<path onclick=\"x()\"/>",
            "<use href=\"https://example.org/x.svg#y\"/>",
            "<path style=\"fill: red\"/>",
            "<path fill=\"url(https://example.org/x.svg#y)\"/>",
            "<foreignObject/>",
            "<path>",
            "<g xmlns=\"http://www.w3.org/1999/xhtml\"/>",
        ] {
            assert!(inline(&svg(body), "x").is_none(), "{body}");
        }
        assert!(inline("<html/>", "x").is_none());
        assert!(inline(&svg("<path d=\"M0 0\"/>"), "x").is_some());
    }

    #[test]
    fn a_damaged_svg_is_shown_as_png_and_a_missing_file_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("written")
        };
        assert!(read(folder.path(), "bars").expect("read").is_none());
        write("bars.png", "png");
        let error = read(folder.path(), "bars")
            .expect_err("half a figure")
            .message();
        assert!(error.ends_with("bars.svg is missing"), "{error}");
        write("bars.svg", "<svg");
        let figure = read(folder.path(), "bars").expect("read").expect("there");
        assert_eq!(
            figure.drawing,
            "<img src=\"data:image/png;base64,cG5n\" alt=\"bars\">"
        );
        assert_eq!(figure.title, "bars");
    }
}
