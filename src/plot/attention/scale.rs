//! The colour scale of attention weights.

use crate::error::Result;
use crate::plot::fonts::{self, Face};
use crate::plot::text::number;
use crate::plot::theme::{
    GREY, Ink, LINE_HEIGHT, OURS, OURS_DARKEST, SMALL_SIZE, TEXT_SIZE, WHITE, WORSE, WORSE_DARKEST,
};
use crate::plot::{Canvas, Point, Type};

/// Larger weights are darker, in steps: blue above 0, orange below, because some kinds of attention subtract.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// The weight of the deepest colour: 1, or where some are larger 2, 5, 10 and so on.
    most: f64,
    /// Whether any weight is below 0.
    subtracts: bool,
}

/// Steps from white to the deepest colour.
const LEVELS: i32 = 16;
/// Share of the way to the darkest colour at which the plain colour is reached.
const PLAIN: f64 = 0.6;
/// Length of the bar from 0 to the deepest colour, in px.
const BAR: f64 = 260.0;
/// Its height, in px.
const THICK: f64 = 12.0;
/// Shares of the deepest colour's weight that have a number at the bar.
pub(super) const NUMBERS: [f64; 6] = [0.0, 0.01, 0.1, 0.25, 0.5, 1.0];

impl Scale {
    pub(super) fn of(weights: impl Iterator<Item = f32>) -> Self {
        let finite: Vec<f64> = weights.map(f64::from).filter(|w| w.is_finite()).collect();
        let largest = finite.iter().map(|w| w.abs()).fold(0.0, f64::max);
        // Round, so that the numbers at the bar are.
        let decades = std::iter::successors(Some(1.0), |decade| Some(decade * 10.0));
        let mut round = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * decade));
        let enough = round.find(|&most| most >= largest);
        Self {
            most: enough.expect("the decades reach every finite number"),
            subtracts: finite.iter().any(|weight| *weight < 0.0),
        }
    }

    /// The step of a weight, from `-LEVELS` to `LEVELS`; nothing is drawn at 0, also the step of NaN and infinity.
    pub(super) fn level(&self, weight: f32) -> i32 {
        if !weight.is_finite() {
            return 0;
        }
        let depth = (f64::from(weight).abs() / self.most).sqrt().min(1.0);
        let level = (depth * f64::from(LEVELS)).round() as i32;
        if weight < 0.0 { -level } else { level }
    }

    pub(super) fn ink(level: i32) -> Ink {
        let (plain, darkest) = match level < 0 {
            true => (WORSE, WORSE_DARKEST),
            false => (OURS, OURS_DARKEST),
        };
        let depth = f64::from(level.abs()) / f64::from(LEVELS);
        match depth <= PLAIN {
            true => WHITE.towards(plain, depth / PLAIN),
            false => plain.towards(darkest, (depth - PLAIN) / (1.0 - PLAIN)),
        }
    }

    /// The bar with its numbers, from the left end of its name.
    pub(super) fn draw(&self, canvas: &mut Canvas<'_>, (x, top): Point) -> Result<()> {
        let name = "weight";
        canvas.text(name, (x, top + THICK), Type::LABEL)?;
        let start = x + fonts::width(Face::Text, TEXT_SIZE, name) + 14.0;
        let (least, first) = match self.subtracts {
            true => (-1.0, -LEVELS),
            false => (0.0, 0),
        };
        let at = |share: f64| start - least * BAR + share.clamp(-1.0, 1.0) * BAR;
        let (ends, bottom) = ([at(least), at(1.0)], top + THICK);
        for level in first..=LEVELS {
            let share = |edge: f64| (f64::from(level) + edge) / f64::from(LEVELS);
            let [left, right] = [at(share(-0.5)).max(ends[0]), at(share(0.5))];
            canvas.rectangle((left, top), (right, bottom), Self::ink(level))?;
        }
        canvas.frame((ends[0], top), (ends[1], bottom), 0.8, GREY)?;
        let style = Type::SMALL.middle();
        let below = |share: &f64| (self.subtracts && *share > 0.0).then_some(-share);
        for share in NUMBERS.iter().filter_map(below).chain(NUMBERS) {
            let place = at(share.abs().sqrt().copysign(share));
            canvas.polyline(&[(place, bottom), (place, bottom + 4.0)], 0.8, GREY)?;
            let baseline = bottom + 4.0 + SMALL_SIZE * LINE_HEIGHT - 3.0;
            canvas.text(&self.label(share), (place, baseline), style)?;
        }
        Ok(())
    }

    /// The weight at a share of the darkest colour's weight, with as many decimals as it needs.
    pub(super) fn label(&self, share: f64) -> String {
        let weight = share * self.most;
        let is_exact = |decimals: &usize| {
            let unit = 10f64.powi(*decimals as i32);
            ((weight * unit).round() / unit - weight).abs() < 1e-9
        };
        number(weight, (0..=2).find(is_exact).unwrap_or(2))
    }
}
