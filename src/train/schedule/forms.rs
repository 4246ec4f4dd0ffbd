//! The forms of the learning rate over time.

use std::f64::consts::PI;

use crate::kinds::{Listed, Named};

/// The keys of `schedule` that not every form reads.
pub const KEYS: [&str; 3] = ["final_tokens", "floor", "decay"];

/// A form of the learning rate over time.
pub struct Form {
    name: &'static str,
    other_names: &'static [&'static str],
    about: &'static str,
    /// Those of [`KEYS`] that it reads.
    pub reads: &'static [&'static str],
    /// The rate as a share of its peak, after warm-up.
    pub factor: fn(&Moment) -> f64,
    /// Whether the rate of a step is that of the tokens before it, in warm-up too: the reference sets it *after* each step, so
    /// that the first one runs at the full rate.
    pub is_set_afterwards: bool,
}

/// A step's time, and what its schedule says about the curve.
pub struct Moment {
    /// The time before the step, from 0 at the end of warm-up to 1 where the curve ends; it goes on behind that.
    pub progress: f64,
    /// Rate at the end, as a share of the peak, if it is given.
    pub floor: Option<f64>,
    /// Part of the time in which a curve with a plateau falls.
    pub decay: f64,
}

/// The cosine never goes below this fraction of the peak, unless it has a floor of its own.
const FLOOR: f64 = 0.1;

impl Moment {
    fn cosine(&self, progress: f64) -> f64 {
        let fall = 0.5 * (1.0 + (PI * progress).cos());
        match self.floor {
            Some(floor) => floor + (1.0 - floor) * fall,
            None => fall.max(FLOOR),
        }
    }

    /// From 1 at the beginning of a span to the floor, or 0, at its end; constant outside of it.
    fn linear(&self, begin: f64, end: f64) -> f64 {
        let floor = self.floor.unwrap_or(0.0);
        let left = (end - self.progress) / (end - begin);
        floor + (1.0 - floor) * left.clamp(0.0, 1.0)
    }
}

/// The forms of the learning rate over time.
static FORMS: [Form; 5] = [
    Form {
        name: "cosine",
        other_names: &[],
        about: "warm-up, then a cosine that stays at its floor once it is reached (Loshchilov and Hutter 2017, SGDR)",
        reads: &["final_tokens", "floor"],
        factor: |at| at.cosine(at.progress.min(1.0)),
        is_set_afterwards: false,
    },
    Form {
        name: "cyclic-cosine",
        other_names: &[],
        about: "the assignment's: the first step at full rate; the cosine continues past its end and rises again (minGPT's trainer)",
        reads: &["final_tokens", "floor"],
        factor: |at| at.cosine(at.progress),
        is_set_afterwards: true,
    },
    Form {
        name: "constant",
        other_names: &[],
        about: "warm-up, then the peak",
        reads: &[],
        factor: |_| 1.0,
        is_set_afterwards: false,
    },
    Form {
        name: "linear",
        other_names: &["linear-decay", "triangular"],
        about: "warm-up, then a straight line to the floor, which is 0 unless given (Defazio et al. 2023)",
        reads: &["final_tokens", "floor"],
        factor: |at| at.linear(0.0, 1.0),
        is_set_afterwards: false,
    },
    Form {
        name: "warmup-stable-decay",
        other_names: &["wsd", "trapezoidal"],
        about: "warm-up, then the peak, then a straight line to the floor, which is 0 unless given (Hu et al. 2024, MiniCPM)",
        reads: &["final_tokens", "floor", "decay"],
        factor: |at| at.linear(1.0 - at.decay, 1.0),
        is_set_afterwards: false,
    },
];

impl Listed for Form {
    fn all() -> &'static [Self] {
        &FORMS
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn other_names(&self) -> &'static [&'static str] {
        self.other_names
    }
}

impl Default for Named<Form> {
    fn default() -> Self {
        Self(&FORMS[0])
    }
}
