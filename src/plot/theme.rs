//! Colours and sizes of all figures, in one place.

/// A colour with its opacity (0 to 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ink {
    /// Red, green, blue.
    pub(super) rgb: (u8, u8, u8),
    /// 0 is invisible, 1 covers.
    pub(super) opacity: f64,
}

impl Ink {
    pub(super) const fn solid(red: u8, green: u8, blue: u8) -> Self {
        Self {
            rgb: (red, green, blue),
            opacity: 1.0,
        }
    }

    /// A colour on the way to another, of which it has a share (0 to 1).
    pub(super) fn towards(self, other: Self, share: f64) -> Self {
        let mix = |from: u8, to: u8| {
            let between = f64::from(from) + (f64::from(to) - f64::from(from)) * share;
            between.round() as u8
        };
        let ((red, green, blue), to) = (self.rgb, other.rgb);
        Self {
            rgb: (mix(red, to.0), mix(green, to.1), mix(blue, to.2)),
            opacity: self.opacity + (other.opacity - self.opacity) * share,
        }
    }

    /// The same colour, more or less transparent.
    pub(super) const fn fade(self, opacity: f64) -> Self {
        Self {
            rgb: self.rgb,
            opacity,
        }
    }
}

/// Text and whiskers.
pub(super) const BLACK: Ink = Ink::solid(0x1a, 0x1a, 0x1a);
/// Captions and axis numbers; 7:1 against white.
pub(super) const GREY: Ink = Ink::solid(0x55, 0x55, 0x55);
/// The grid lines, light enough not to distract.
pub(super) const GRID: Ink = Ink::solid(0xe6, 0xe6, 0xe6);
/// The background.
pub(super) const WHITE: Ink = Ink::solid(0xff, 0xff, 0xff);

/// What we measured.
pub(super) const OURS: Ink = SERIES[0];
/// What somebody else reported; nothing of ours has this colour in the same figure.
pub(super) const REPORTED: Ink = SERIES[1];
/// What is worse than what it is compared with, where nothing reported is shown.
pub(super) const WORSE: Ink = SERIES[1];
/// The dark end of a scale that goes from white over [`OURS`].
pub(super) const OURS_DARKEST: Ink = Ink::solid(0x00, 0x1f, 0x3d);
/// The dark end of a scale that goes from white over [`WORSE`].
pub(super) const WORSE_DARKEST: Ink = Ink::solid(0x4a, 0x1c, 0x00);
/// What needs no model.
pub(super) const BASELINE: Ink = GREY;

/// Okabe and Ito's colour-blind-safe palette, without the yellow, which is hard to see on white.
///
/// Source: Okabe and Ito 2008, *Color universal design*.
pub(super) const SERIES: [Ink; 7] = [
    Ink::solid(0x00, 0x72, 0xb2), // blue
    Ink::solid(0xd5, 0x5e, 0x00), // vermilion
    Ink::solid(0x00, 0x9e, 0x73), // bluish green
    Ink::solid(0xcc, 0x79, 0xa7), // reddish purple
    Ink::solid(0xe6, 0x9f, 0x00), // orange
    Ink::solid(0x56, 0xb4, 0xe9), // sky blue
    BLACK,
];

/// Whether a curve is dashed, to distinguish it from another of the same colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stroke {
    Whole,
    Dashed,
}

/// How a curve looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pen {
    pub(super) ink: Ink,
    /// In px.
    pub(super) width: f64,
    pub(super) stroke: Stroke,
}

impl Pen {
    pub(super) const fn whole(ink: Ink, width: f64) -> Self {
        let stroke = Stroke::Whole;
        Self { ink, width, stroke }
    }

    /// The pen of a dashed line to compare with.
    pub(super) const fn dashed(ink: Ink) -> Self {
        let (width, stroke) = (1.5, Stroke::Dashed);
        Self { ink, width, stroke }
    }
}

/// Number of distinct curve styles: each colour solid, and dashed.
pub(super) const DISTINCT: usize = 2 * SERIES.len();

/// The style of one of at most [`DISTINCT`] curves.
pub(super) fn distinct(curve: usize) -> (Ink, Stroke) {
    match SERIES.get(curve) {
        Some(&ink) => (ink, Stroke::Whole),
        None => (SERIES[curve % SERIES.len()], Stroke::Dashed),
    }
}

/// Width of every figure, in px.
pub(super) const WIDTH: f64 = 900.0;
/// Empty border, in px.
pub(super) const MARGIN: f64 = 24.0;
/// Height of a plot area, in px.
pub(super) const PLOT_HEIGHT: f64 = 340.0;
/// Type size of the title, in px.
pub(super) const TITLE_SIZE: f64 = 20.0;
/// Type size of labels, in px.
pub(super) const TEXT_SIZE: f64 = 15.0;
/// Type size of captions and axis numbers, in px; nothing is smaller.
pub(super) const SMALL_SIZE: f64 = 14.0;
/// Baseline to baseline, as a multiple of the type size.
pub(super) const LINE_HEIGHT: f64 = 1.3;
