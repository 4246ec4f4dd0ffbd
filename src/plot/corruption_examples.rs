//! Documents as span corruption shows them: the text, and the sequence that the model reads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::canvas::{Canvas, Type, paint};
use super::caption::Caption;
use super::fonts::{self, Face};
use super::kind::{Gathered, Plot};
use super::page::draw_lines;
use super::theme::{
    BLACK, GREY, GRID, Ink, LINE_HEIGHT, MARGIN, OURS, SERIES, SMALL_SIZE, TEXT_SIZE, TITLE_SIZE,
    WIDTH,
};
use super::{Figure, text};
use crate::error::Result;
use crate::metrics::artefacts::CORRUPTION_EXAMPLES;
use crate::metrics::measured::Measured;
use crate::metrics::rows::CorruptionRow;

/// The keys of `kind = "corruption-examples"`.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Number of documents shown.
    #[schemars(range(min = 1, max = 12))]
    examples: usize,
}

impl Default for Keys {
    fn default() -> Self {
        Self { examples: 4 }
    }
}

impl Plot for CorruptionExamples {
    type Keys = Keys;

    const NAME: &'static str = "corruption-examples";
    const SHOWS: &'static str = "documents as span corruption shows them to the model";
    const TITLE: &'static str = "What pretraining shows the model";
    #[cfg(test)]
    const IS_PER_POINT: bool = false;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::gallery::Example] = &[tests::made_up];

    fn gather(keys: &Keys, title: String, measured: &Measured) -> Result<Gathered<Self>> {
        for run in measured.points.iter().flat_map(|point| &point.runs) {
            let Some(mut rows) = run.read::<CorruptionRow>(&CORRUPTION_EXAMPLES, "")? else {
                continue;
            };
            rows.truncate(keys.examples);
            return Ok(Gathered::Figure(Self {
                title,
                caption: format!("{}, seed {}.", measured.name, run.seed),
                rows,
            }));
        }
        Ok(Gathered::Nothing("no run has pretrained"))
    }

    fn draw(&self) -> Result<Figure> {
        draw_corruption_examples(self)
    }
}

/// Some documents, each before and after span corruption.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CorruptionExamples {
    /// The heading.
    pub title: String,
    /// How the caption begins. What the colours are is added.
    pub caption: String,
    /// The documents, from top to bottom.
    pub rows: Vec<CorruptionRow>,
}

/// The mask sign (U+2047), which also separates the parts of a sequence.
const MASK: char = '\u{2047}';
/// The padding sign (U+25A1).
const PAD: char = '\u{25a1}';
/// Left edge of the documents, in px; their labels stand before it.
const TEXT_LEFT: f64 = MARGIN + 96.0;
/// From a document's heading to its text, in px.
const HEADING: f64 = 30.0;
/// Masked spans.
const ACCENT: Ink = SERIES[1];

/// The role of a character in its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Kept,
    Masked,
    Mask,
    Pad,
}

/// The text with its masked span, in its place.
fn original(row: &CorruptionRow) -> Vec<(char, Part)> {
    let parts = [
        (&row.prefix, Part::Kept),
        (&row.masked, Part::Masked),
        (&row.suffix, Part::Kept),
    ];
    parts
        .into_iter()
        .flat_map(|(text, part)| text.chars().map(move |c| (c, part)))
        .collect()
}

/// What the model reads: prefix ⁇ suffix ⁇ masked ⁇.
///
/// The span is what stands between the second and the third mask.
fn sequence(row: &CorruptionRow) -> Vec<(char, Part)> {
    let mut masks = 0;
    let part = |c| {
        masks += usize::from(c == MASK);
        match c {
            MASK => (c, Part::Mask),
            PAD => (c, Part::Pad),
            _ if masks == 2 => (c, Part::Masked),
            _ => (c, Part::Kept),
        }
    };
    row.sequence.chars().map(part).collect()
}

/// Breaks into lines of `columns` characters, after a space where one is near.
fn lines(characters: &[(char, Part)], columns: usize) -> Vec<&[(char, Part)]> {
    let mut rest = characters;
    let mut lines = vec![];
    while rest.len() > columns {
        let nearest = (columns / 2..columns).rev().find(|&i| rest[i].0 == ' ');
        let (line, after) = rest.split_at(nearest.map_or(columns, |i| i + 1));
        lines.push(line);
        rest = after;
    }
    lines.push(rest);
    lines
}

/// One form of a document, and where it stands.
struct Block {
    /// `document 12, epoch 1`, before the first form of a document.
    heading: Option<String>,
    /// Which form it is.
    name: &'static str,
    lines: Vec<Vec<(char, Part)>>,
    /// Top of the first line, in px.
    top: f64,
}

/// Baseline to baseline of a document, in px: room for the boxes behind spans.
const LEADING: f64 = TEXT_SIZE * 1.45;

/// Draws each document with its masked span marked, and under it the sequence that the model reads.
///
/// # Errors
/// None that the caller can cause; the renderer's own pass through.
pub fn draw_corruption_examples(figure: &CorruptionExamples) -> Result<Figure> {
    let width = WIDTH - 2.0 * MARGIN;
    let title = text::wrap(Face::Text, TITLE_SIZE, &figure.title, width, 2);
    let caption = full_caption(figure);
    let caption_lines = text::wrap(Face::Text, SMALL_SIZE, &caption, width, 12);
    let (blocks, bottom) = place(
        &figure.rows,
        MARGIN + title.len() as f64 * TITLE_SIZE * LINE_HEIGHT,
    );
    let height = bottom + caption_lines.len() as f64 * SMALL_SIZE * LINE_HEIGHT + MARGIN - 4.0;
    let drawing = paint(height, |canvas| {
        draw_lines(
            canvas,
            &title,
            (MARGIN, MARGIN - 4.0),
            Type::new(TITLE_SIZE, BLACK),
        )?;
        blocks
            .iter()
            .try_for_each(|block| draw_block(canvas, block))?;
        draw_lines(
            canvas,
            &caption_lines,
            (MARGIN, bottom),
            Type::new(SMALL_SIZE, GREY),
        )
    })?;
    Figure::finish(&drawing, &figure.title, &caption, &figure.rows)
}

/// Width of a character, in px.
fn advance() -> f64 {
    fonts::advance(Face::Mono, 'x').unwrap_or(0.6) * TEXT_SIZE
}

/// The blocks from `y` down, and where they end.
fn place(rows: &[CorruptionRow], mut y: f64) -> (Vec<Block>, f64) {
    let columns = ((WIDTH - MARGIN - TEXT_LEFT) / advance()).floor().max(4.0) as usize;
    let mut blocks = vec![];
    for row in rows {
        let mut heading = Some(format!(
            "document {}, epoch {}",
            text::count(row.document),
            text::count(row.epoch)
        ));
        y += HEADING;
        for (name, characters) in [("text", original(row)), ("model reads", sequence(row))] {
            let lines: Vec<_> = lines(&characters, columns)
                .into_iter()
                .map(<[_]>::to_vec)
                .collect();
            let height = lines.len() as f64 * LEADING;
            blocks.push(Block {
                heading: heading.take(),
                name,
                lines,
                top: y,
            });
            y += height + 5.0;
        }
        y += 13.0;
    }
    (blocks, y)
}

fn draw_block(canvas: &mut Canvas<'_>, block: &Block) -> Result<()> {
    let baseline = |line: usize| block.top + LEADING * (line as f64 + 0.72);
    if let Some(heading) = &block.heading {
        let y = block.top - HEADING;
        canvas.polyline(&[(MARGIN, y), (WIDTH - MARGIN, y)], 1.0, GRID)?;
        let style = Type::new(TEXT_SIZE, BLACK);
        canvas.text(heading, (MARGIN, block.top - 8.0), style)?;
    }
    canvas.text(
        block.name,
        (MARGIN, baseline(0)),
        Type::new(SMALL_SIZE, GREY),
    )?;
    for (i, line) in block.lines.iter().enumerate() {
        draw_line(canvas, line, baseline(i))?;
    }
    Ok(())
}

fn draw_line(canvas: &mut Canvas<'_>, line: &[(char, Part)], baseline: f64) -> Result<()> {
    let mut column = 0;
    for run in line.chunk_by(|a, b| a.1 == b.1) {
        let left = TEXT_LEFT + column as f64 * advance();
        let right = left + run.len() as f64 * advance();
        let (ink, behind) = run[0].1.inks();
        if let Some(behind) = behind {
            let (top, bottom) = (baseline - TEXT_SIZE * 0.95, baseline + TEXT_SIZE * 0.33);
            canvas.rectangle((left, top), (right, bottom), behind)?;
        }
        let words: String = run.iter().map(|c| c.0).collect();
        let style = Type {
            face: Face::Mono,
            ..Type::new(TEXT_SIZE, ink)
        };
        canvas.text(&words, (left, baseline), style)?;
        column += run.len();
    }
    Ok(())
}

impl Part {
    /// Colour of the character and of the box behind it.
    fn inks(self) -> (Ink, Option<Ink>) {
        match self {
            Self::Kept => (BLACK, None),
            Self::Masked => (ACCENT, Some(ACCENT.fade(0.14))),
            Self::Mask => (OURS, Some(OURS.fade(0.14))),
            Self::Pad => (GREY, None),
        }
    }
}

fn full_caption(figure: &CorruptionExamples) -> String {
    let documents = text::plural(figure.rows.len(), "document", "documents");
    let mut own = format!("{documents}. Orange: the masked span, which moves to the end; ");
    own.push_str(
        "the blue mask sign marks where it was, where the text ends, and where the span ends.",
    );
    if figure.rows.iter().any(|row| row.masked.is_empty()) {
        own.push_str(
            " In a short document the span may be empty: then nothing is between the last two masks.",
        );
    }
    if figure.rows.is_empty() {
        own = "No document.".to_owned();
    }
    let texts = figure.rows.iter();
    let texts = texts.flat_map(|row| [&row.prefix, &row.masked, &row.suffix, &row.sequence]);
    let mut caption = Caption::new(&figure.title, &figure.caption);
    caption.say(own);
    caption
        .draws_in(Face::Mono, texts.map(String::as_str))
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::gallery::Label;

    /// A figure of made-up values.
    pub fn made_up(points: usize, _: Label<'_>) -> Figure {
        let row = |i: usize| CorruptionRow {
            document: i,
            epoch: 1,
            prefix: "Ada Moss was ".to_owned(),
            masked: "born in".to_owned(),
            suffix: " Lima, and lives there still, as everybody who has read of her may know."
                .to_owned(),
            sequence: "Ada Moss was \u{2047} Lima, and lives there still\u{2047}born in\u{2047}"
                .to_owned(),
        };
        let figure = CorruptionExamples {
            title: "A figure of corruption".to_owned(),
            caption: "made-up values.".to_owned(),
            rows: (0..points).map(row).collect(),
        };
        draw_corruption_examples(&figure).expect("drawn")
    }

    fn row(prefix: &str, masked: &str, suffix: &str) -> CorruptionRow {
        let [prefix, masked, suffix] = [prefix, masked, suffix].map(str::to_owned);
        let sequence = format!("{prefix}{MASK}{suffix}{MASK}{masked}{MASK}");
        CorruptionRow {
            document: 12,
            epoch: 1,
            prefix,
            masked,
            suffix,
            sequence,
        }
    }

    fn figure(rows: Vec<CorruptionRow>) -> CorruptionExamples {
        let (title, caption) = ("What the model reads".to_owned(), "Synthetic".to_owned());
        CorruptionExamples {
            title,
            caption,
            rows,
        }
    }

    fn text_of(characters: &[(char, Part)], part: Part) -> String {
        characters
            .iter()
            .filter(|c| c.1 == part)
            .map(|c| c.0)
            .collect()
    }

    #[test]
    fn the_masked_span_is_marked_in_both_forms() {
        let row = row("Ada Lovelace was ", "born in", " London.");
        assert_eq!(text_of(&original(&row), Part::Masked), "born in");
        assert_eq!(text_of(&sequence(&row), Part::Masked), "born in");
        assert_eq!(text_of(&sequence(&row), Part::Mask).chars().count(), 3);
    }

    #[test]
    fn lines_hold_every_character_and_break_at_spaces() {
        let text: Vec<_> = "one two three four"
            .chars()
            .map(|c| (c, Part::Kept))
            .collect();
        let broken: Vec<String> = lines(&text, 8)
            .iter()
            .map(|l| text_of(l, Part::Kept))
            .collect();
        assert_eq!(broken, ["one two ", "three ", "four"]);
        let solid = vec![('x', Part::Kept); 20];
        assert_eq!(
            lines(&solid, 8).iter().map(|l| l.len()).collect::<Vec<_>>(),
            [8, 8, 4]
        );
    }

    #[test]
    fn the_same_input_gives_the_same_bytes_without_any_font() {
        let spec = figure(vec![
            row("Ada <Lovelace> & ", "was", "  born in London.");
            2
        ]);
        let drawn = draw_corruption_examples(&spec).unwrap();
        assert_eq!(drawn, draw_corruption_examples(&spec).unwrap());
        assert!(!drawn.svg.contains("<text") && !drawn.svg.contains("font-family"));
        let csv = String::from_utf8(drawn.csv).unwrap();
        assert!(
            csv.starts_with("document,epoch,prefix,masked,suffix,sequence\n12,1,Ada <"),
            "{csv}"
        );
    }

    #[test]
    fn characters_without_a_glyph_are_counted() {
        let spec = figure(vec![row("漢字 ", "a", "")]);
        assert!(
            full_caption(&spec)
                .ends_with(" 4 characters that the figure's fonts lack are shown as ·.")
        );
        draw_corruption_examples(&spec).unwrap();
    }

    #[test]
    fn degenerate_figures_are_drawn() {
        draw_corruption_examples(&CorruptionExamples::default()).unwrap();
        let broken = CorruptionRow {
            sequence: "\u{0}⁇\n⁇⁇⁇□□".to_owned(),
            ..row("", "", "")
        };
        draw_corruption_examples(&figure(vec![broken, row("", &"x".repeat(999), " ")])).unwrap();
    }
}
