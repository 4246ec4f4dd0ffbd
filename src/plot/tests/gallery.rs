//! Every kind of figure with few and with many points, of short and of awkward names: no texts overlap or
//! leave their figure.
//!
//! `GALLERY=folder cargo test --lib gallery` also writes the figures there, to be looked at.

use std::cell::{Cell, RefCell};
use std::path::Path;

use crate::kinds::Listed as _;
use crate::metrics::statistics::{Estimate, Interval, IntervalKind};
use crate::plot::canvas::{Anchor, Point, Type};
use crate::plot::seed_values::SeedValue;
use crate::plot::theme::WIDTH;
use crate::plot::{Figure, FigureKind, KINDS, fonts};

/// What the points of a figure are called.
pub type Label<'a> = &'a dyn Fn(usize) -> String;

/// Draws a figure of made-up values with the given number of points and labels.
pub type Example = fn(usize, Label<'_>) -> Figure;

/// A text as it is drawn: its box, in px.
#[derive(Clone, Debug)]
struct TextBox {
    #[expect(dead_code, reason = "an assertion that fails shows it")]
    text: String,
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

thread_local! {
    /// Texts that the canvas of this thread has drawn since they were last taken.
    static WRITTEN: RefCell<Vec<TextBox>> = const { RefCell::new(vec![]) };
    static UNFINISHED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread only checks texts, so that rendering can be skipped.
pub fn skips_rendering() -> bool {
    UNFINISHED.get()
}

/// What the canvas calls for every text that it draws.
pub fn note(text: &str, (x, y): Point, style: Type, is_level: bool) {
    let long = fonts::width(style.face, style.size, text);
    let before = match style.anchor {
        Anchor::Left => 0.0,
        Anchor::Center => long / 2.0,
        Anchor::Right => long,
    };
    let (over, under) = (0.72 * style.size, 0.2 * style.size);
    let (left, right, top, bottom) = match is_level {
        true => (x - before, x - before + long, y - over, y + under),
        false => (x - over, x + under, y + before - long, y + before),
    };
    let lettering = TextBox {
        text: text.to_owned(),
        left,
        top,
        right,
        bottom,
    };
    WRITTEN.with_borrow_mut(|written| written.push(lettering));
}

impl TextBox {
    fn touches(&self, other: &Self) -> bool {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        width > 1.0 && height > 1.0
    }

    fn is_inside(&self, height: f64) -> bool {
        self.left >= 0.0 && self.right <= WIDTH && self.top >= 0.0 && self.bottom <= height
    }
}

/// Texts of the figure just drawn that overlap or leave it.
fn faults(figure: &Figure, written: &[TextBox]) -> Vec<String> {
    let (_, after) = figure.svg.split_once("height=\"").expect("a height");
    let (height, _) = after.split_once('"').expect("a number");
    let height = height.parse().expect("a number");
    let mut faults = vec![];
    for (i, one) in written.iter().enumerate() {
        if !one.is_inside(height) {
            faults.push(format!("outside: {one:?}"));
        }
        let touched = written[i + 1..].iter().filter(|other| one.touches(other));
        faults.extend(touched.map(|other| format!("{one:?} lies on {other:?}")));
    }
    faults
}

/// A number in 0 to 1 that looks drawn by chance and is always the same.
pub fn chance(i: usize, j: usize) -> f64 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ (j as u64 + 7).wrapping_mul(0xd1b5_4a32_d192_ed03);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 29)) % 10_007) as f64 / 10_007.0
}

impl SeedValue {
    /// From a count of right answers; `None` without questions.
    pub fn of_counts(seed: u64, correct: usize, questions: usize) -> Option<Self> {
        Some(Self {
            seed,
            questions,
            correct: Some(correct),
            estimate: Estimate::of_counts(correct, questions)?,
        })
    }
}

/// How many questions the seeds of a point have answered right.
pub fn runs(i: usize, points: usize, seeds: u64) -> Vec<SeedValue> {
    let right = |seed| 500.0 * (skill(i, points) + 0.05 * chance(i, seed as usize));
    let run = |seed| SeedValue::of_counts(seed, right(seed) as usize, 500);
    (1..=seeds).filter_map(run).collect()
}

/// Made-up losses of a point's seeds, in nats.
pub fn losses(i: usize, points: usize, seeds: u64) -> Vec<SeedValue> {
    let run = |seed| {
        let value = 3.0 - 2.5 * skill(i, points) + 0.2 * chance(i, seed as usize);
        let (low, high, kind) = (0.9 * value, 1.1 * value, IntervalKind::Bootstrap);
        SeedValue {
            seed,
            questions: 500,
            correct: None,
            estimate: Estimate {
                value,
                interval: Some(Interval { low, high, kind }),
            },
        }
    };
    (1..=seeds).map(run).collect()
}

/// A share that grows from point to point.
pub fn skill(i: usize, points: usize) -> f64 {
    0.1 + 0.75 * i as f64 / points.max(2) as f64 + 0.1 * chance(i, 1)
}

fn short(i: usize) -> String {
    format!("seed = {i}")
}

fn alike(i: usize) -> String {
    format!("model.attention.kind = a-kind-with-a-rather-long-name-{i:02}, pretrain.epochs = 1")
}

fn ugly(i: usize) -> String {
    let sign = char::from_u32(0x1f980 + i as u32 % 40).expect("an animal");
    format!(
        "λ ≤ {} α₂ naïve \u{201c}quoted\u{201d} 漢字 {sign} variant {}",
        i / 40,
        "x".repeat(i % 50)
    )
}

/// Whether the table of a kind names each of so many points: one that compares points has nothing about a single one.
fn names_all(kind: &FigureKind, points: usize) -> bool {
    match kind.name() {
        "corruption-examples" => false,
        "effects" | "paired-matrix" => points > 1,
        _ => true,
    }
}

/// What points are called, and what that is like.
type Naming = (&'static str, Label<'static>);

const NAMINGS: [Naming; 3] = [("short", &short), ("alike", &alike), ("ugly", &ugly)];

#[test]
fn no_text_lies_on_another_and_the_table_has_every_point() {
    let folder = std::env::var_os("GALLERY");
    UNFINISHED.set(folder.is_none());
    let all: Vec<(usize, Naming)> = match &folder {
        Some(_) => {
            let names = |points| NAMINGS.map(|naming| (points, naming));
            [80, 40, 20, 12, 3, 1].into_iter().flat_map(names).collect()
        }
        None => vec![(3, NAMINGS[1]), (20, NAMINGS[2]), (80, NAMINGS[1])],
    };
    let mut found = vec![];
    let examples = KINDS.iter().flat_map(|kind| {
        let numbered = kind.examples.iter().enumerate();
        let all = &all;
        numbered.flat_map(move |(i, draw)| all.iter().map(move |one| (kind, i, draw, *one)))
    });
    for (kind, i, draw, (points, (name, label))) in examples {
        WRITTEN.take();
        let figure = draw(points, label);
        let faults = faults(&figure, &WRITTEN.take());
        let of = format!("{}-{i}-{points:02}-{name}", kind.name());
        if let Some(folder) = &folder {
            figure.write(Path::new(folder), &of).expect("written");
        }
        let csv = String::from_utf8_lossy(&figure.csv).into_owned();
        let lost = (0..points).filter(|&i| names_all(kind, points) && !csv.contains(&label(i)));
        found.extend(lost.map(|i| format!("{of}: the CSV lacks {}", label(i))));
        if let Some(first) = faults.first() {
            found.push(format!("{of}: {} faults, such as {first}", faults.len()));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
