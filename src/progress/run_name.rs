//! What a run is called in lines of any width, so that no two runs of a sweep look alike.

use console::measure_text_width as columns;

use super::name::{printable, shorten};
use crate::labels::shorten_apart;

/// Columns that the shorter forms of a name have at most.
///
/// They are few and the same for all lines of a sweep: of two runs that are shortened to different widths,
/// one could look like the other.
const FORMS: [usize; 6] = [60, 38, 24, 18, 12, 8];

/// The name of a run in full, and shorter and shorter.
#[derive(Debug)]
pub(super) struct RunName(Vec<String>);

impl RunName {
    /// The names of all runs of a sweep.
    pub(super) fn of_all(names: &[String]) -> Vec<Self> {
        let full: Vec<String> = names.iter().map(|name| printable(name)).collect();
        let shortened = FORMS.map(|width| shorten_apart(&full, &|name| columns(name) <= width));
        let forms = |run: usize| shortened.iter().map(move |names| names[run].clone());
        let name = |(run, full): (usize, &String)| {
            let whole = std::iter::once(full.clone());
            Self(whole.chain(forms(run)).collect())
        };
        full.iter().enumerate().map(name).collect()
    }

    pub(super) fn full(&self) -> &str {
        &self.0[0]
    }

    /// The longest form that has at most `width` columns together with what follows; where there is none,
    /// the end of the shortest.
    pub(super) fn fit(&self, follows: &str, width: usize) -> String {
        let mut forms = self.0.iter().map(|form| format!("{form}{follows}"));
        let fitting = forms.find(|form| columns(form) <= width);
        let shortest = || self.0.last().map_or("", String::as_str);
        fitting.unwrap_or_else(|| shorten(&format!("{}{follows}", shortest()), width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_look_different_at_every_width() {
        let name = |rate: usize, seed: usize| {
            let key = "finetune.optimiser.learning_rate";
            format!("a-long-experiment-name / {key} = {rate}, model.dropout = 0.1 / seed {seed}")
        };
        let names = [name(1, 1), name(1, 2), name(2, 1), name(2, 2)];
        let runs = RunName::of_all(&names);
        for width in 8..=110 {
            let mut shown: Vec<String> = runs.iter().map(|run| run.fit("", width)).collect();
            assert!(shown.iter().all(|name| columns(name) <= width), "{shown:?}");
            shown.sort();
            shown.dedup();
            assert_eq!(shown.len(), 4, "{width} columns: {shown:?}");
        }
        assert_eq!(runs[0].fit(": ", 110), format!("{}: ", names[0]));
    }
}
