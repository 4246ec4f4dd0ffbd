//! Documents as span corruption shows them: the text, and the sequence that the model reads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fonts::{self, Face};
use super::text::{count, plural};
use super::theme::{BLACK, GREY, GRID, Ink, MARGIN, OURS, SERIES, TEXT_SIZE, WIDTH};
use super::{Canvas, Caption, Figure, Gathered, Need, Page, Plot, Type};
use crate::error::Result;
use crate::metrics::artefacts::CORRUPTION_EXAMPLES;
use crate::metrics::measured::{Measured, MeasuredRun};
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
    const NEEDS: Need = Need::Corruption;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::tests::gallery::Example] = &[tests::made_up];

    fn origin(_: &Keys, measured: &Measured) -> String {
        let seed = shown(measured).map_or(0, |run| run.seed);
        format!("{}, seed {seed}.", measured.name)
    }

    fn gather(keys: &Keys, measured: &Measured) -> Result<Gathered<Self>> {
        let Some(run) = shown(measured) else {
            return Ok(Gathered::Nothing("no run has pretrained".into()));
        };
        let rows = run.read(&CORRUPTION_EXAMPLES, "")?;
        let mut rows: Vec<CorruptionRow> = rows.unwrap_or_default();
        rows.truncate(keys.examples);
        Ok(Gathered::Figure(Self { rows }))
    }

    /// Each document with its masked span marked, and under it the sequence that the model reads.
    fn draw(&self, caption: Caption) -> Result<Figure> {
        let forms: Vec<_> = self.rows.iter().map(forms).collect();
        let page = Page::new(self.explained(caption), vec![]);
        let heights = forms.iter().map(height);
        page.figure(heights.sum::<f64>() - 26.0, &self.rows, |canvas, area| {
            let mut top = area.top - 16.0;
            for (row, forms) in self.rows.iter().zip(&forms) {
                draw_document(canvas, row, forms, top)?;
                top += height(forms);
            }
            Ok(())
        })
    }
}

/// The run whose documents are shown: the first that has pretrained.
fn shown(measured: &Measured) -> Option<&MeasuredRun> {
    let mut runs = measured.points.iter().flat_map(|point| &point.runs);
    runs.find(|run| run.path(&CORRUPTION_EXAMPLES, "").is_file())
}

/// A figure of these documents; `origin` says where they are from.
///
/// # Errors
/// It cannot be drawn.
pub fn of_examples(rows: Vec<CorruptionRow>, origin: String) -> Result<Figure> {
    let title = CorruptionExamples::TITLE.to_owned();
    CorruptionExamples { rows }.draw(Caption::new(title, origin))
}

/// Some documents, each before and after span corruption, from top to bottom.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CorruptionExamples {
    rows: Vec<CorruptionRow>,
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
/// Line height of a document, in px, with room for the boxes behind spans.
const LEADING: f64 = TEXT_SIZE * 1.45;

/// The role of a character in its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Kept,
    Masked,
    Mask,
    Pad,
}

type Line = Vec<(char, Part)>;

/// The two forms of a document: their names and their lines.
type Forms = [(&'static str, Vec<Line>); 2];

/// The text with its masked span, in its place.
fn original(row: &CorruptionRow) -> Line {
    let part = |text: &str, part| text.chars().map(|c| (c, part)).collect::<Line>();
    let (before, after) = (part(&row.prefix, Part::Kept), part(&row.suffix, Part::Kept));
    [before, part(&row.masked, Part::Masked), after].concat()
}

/// What the model reads: prefix ⁇ suffix ⁇ masked ⁇.
///
/// The span is what is between the second and the third mask.
fn sequence(row: &CorruptionRow) -> Line {
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
fn lines(mut rest: &[(char, Part)], columns: usize) -> Vec<Line> {
    let mut lines = vec![];
    while rest.len() > columns {
        let nearest = (columns / 2..columns).rev().find(|&i| rest[i].0 == ' ');
        let (line, after) = rest.split_at(nearest.map_or(columns, |i| i + 1));
        lines.push(line.to_vec());
        rest = after;
    }
    lines.push(rest.to_vec());
    lines
}

fn forms(row: &CorruptionRow) -> Forms {
    let columns = (WIDTH - MARGIN - TEXT_LEFT) / fonts::column(TEXT_SIZE);
    let columns = columns.floor().max(4.0) as usize;
    let forms = [("text", original(row)), ("model reads", sequence(row))];
    forms.map(|(name, characters)| (name, lines(&characters, columns)))
}

/// Height of a document, in px.
fn height(forms: &Forms) -> f64 {
    let heights = forms.iter().map(|(_, lines)| form_height(lines));
    HEADING + heights.sum::<f64>() + 13.0
}

fn form_height(lines: &[Line]) -> f64 {
    lines.len() as f64 * LEADING + 5.0
}

fn draw_document(
    canvas: &mut Canvas<'_>,
    row: &CorruptionRow,
    forms: &Forms,
    mut y: f64,
) -> Result<()> {
    canvas.polyline(&[(MARGIN, y), (WIDTH - MARGIN, y)], 1.0, GRID)?;
    y += HEADING;
    let (document, epoch) = (count(row.document), count(row.epoch));
    let heading = format!("document {document}, epoch {epoch}");
    canvas.text(&heading, (MARGIN, y - 8.0), Type::LABEL)?;
    for (name, lines) in forms {
        let baseline = |line: usize| y + LEADING * (line as f64 + 0.72);
        canvas.text(name, (MARGIN, baseline(0)), Type::SMALL)?;
        for (i, line) in lines.iter().enumerate() {
            draw_line(canvas, line, baseline(i))?;
        }
        y += form_height(lines);
    }
    Ok(())
}

fn draw_line(canvas: &mut Canvas<'_>, line: &[(char, Part)], baseline: f64) -> Result<()> {
    let (wide, mut column) = (fonts::column(TEXT_SIZE), 0);
    for run in line.chunk_by(|a, b| a.1 == b.1) {
        let left = TEXT_LEFT + column as f64 * wide;
        let right = left + run.len() as f64 * wide;
        let (ink, behind) = run[0].1.inks();
        if let Some(behind) = behind {
            let (top, bottom) = (baseline - TEXT_SIZE * 0.95, baseline + TEXT_SIZE * 0.33);
            canvas.rectangle((left, top), (right, bottom), behind)?;
        }
        let words: String = run.iter().map(|c| c.0).collect();
        canvas.text(&words, (left, baseline), Type::mono(TEXT_SIZE, ink))?;
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

impl CorruptionExamples {
    fn explained(&self, mut caption: Caption) -> Caption {
        match self.rows.len() {
            0 => caption.say("No document."),
            number => caption.say(format!(
                "{}. Orange: the masked span, which moves to the end; the blue mask sign marks where it was, \
                 where the text ends, and where the span ends.",
                plural(number, "document", "documents")
            )),
        }
        if self.rows.iter().any(|row| row.masked.is_empty()) {
            caption.say(
                "In a short document the span may be empty: then nothing is between the last two masks.",
            );
        }
        let texts = self.rows.iter();
        let texts = texts.flat_map(|row| [&row.prefix, &row.masked, &row.suffix, &row.sequence]);
        caption.draws_in(Face::Mono, texts.map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::tests::drawn;
    use crate::plot::tests::gallery::Label;

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
            rows: (0..points).map(row).collect(),
        };
        drawn(&figure, "A figure of corruption")
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
        CorruptionExamples { rows }
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
        let drawn = spec.draw(Caption::default()).unwrap();
        assert_eq!(drawn, spec.draw(Caption::default()).unwrap());
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
            spec.explained(Caption::default())
                .finish()
                .ends_with(" 4 characters that the figure's fonts lack are shown as ·.")
        );
        spec.draw(Caption::default()).unwrap();
    }

    #[test]
    fn degenerate_figures_are_drawn() {
        CorruptionExamples::default()
            .draw(Caption::default())
            .unwrap();
        let broken = CorruptionRow {
            sequence: "\u{0}⁇\n⁇⁇⁇□□".to_owned(),
            ..row("", "", "")
        };
        figure(vec![broken, row("", &"x".repeat(999), " ")])
            .draw(Caption::default())
            .unwrap();
    }
}
