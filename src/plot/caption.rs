//! A figure's title and its caption: what it shows, what its marks mean, what is left out and what could not be drawn.

use super::crowd::PointSubset;
use super::fonts::{Face, drawable, note};
use super::point_labels::PointLabels;

/// Builder of a caption, under a title.
#[derive(Clone, Default)]
pub(super) struct Caption {
    pub(super) title: String,
    origin: String,
    sentences: Vec<String>,
    /// Sentences about what is left out, each after a space.
    notes: String,
    /// Characters of the figure's texts that its fonts lack.
    missing: usize,
}

impl Caption {
    /// `origin`, which may be empty, says where the numbers come from.
    pub(super) fn new(title: String, origin: String) -> Self {
        let caption = Self::default().draws([&*title, &*origin]);
        Self {
            title,
            origin: origin.trim().to_owned(),
            ..caption
        }
    }

    /// Adds a sentence about the marks.
    pub(super) fn say(&mut self, sentence: impl Into<String>) {
        self.sentences.push(sentence.into());
    }

    /// Further texts that the figure draws.
    pub(super) fn draws<'a>(self, words: impl IntoIterator<Item = &'a str>) -> Self {
        self.draws_in(Face::Text, words)
    }

    /// The same in another face.
    pub(super) fn draws_in<'a>(
        mut self,
        face: Face,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let missing = words.into_iter().map(|words| drawable(face, words).1);
        self.missing += missing.sum::<usize>();
        self
    }

    /// The labels of the points, and the settings that all of them share.
    pub(super) fn labels(mut self, labels: &PointLabels) -> Self {
        self.notes += &labels.note();
        self.draws(labels.iter().map(String::as_str))
    }

    /// How many of all `what` are shown.
    pub(super) fn shown(mut self, shown: &PointSubset, what: &str) -> Self {
        self.notes += &shown.note(what);
        self
    }

    /// All of it as one paragraph.
    pub(super) fn finish(self) -> String {
        let own = self.sentences.join(" ") + &self.notes + &note(self.missing);
        let (origin, own) = (self.origin, own.trim());
        let stop = match origin.is_empty() || origin.ends_with(['.', '!', '?', ':']) {
            true => "",
            false => ".",
        };
        format!("{origin}{stop} {own}").trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(origin: &str, sentences: &[&str]) -> String {
        let mut caption = Caption::new(String::new(), origin.to_owned());
        sentences.iter().for_each(|sentence| caption.say(*sentence));
        caption.finish()
    }

    #[test]
    fn captions_join_as_sentences() {
        assert_eq!(
            joined("dev split", &["Bars: mean."]),
            "dev split. Bars: mean."
        );
        assert_eq!(joined("Profile small.", &[]), "Profile small.");
        assert_eq!(joined("", &["Bars.", "Dots."]), "Bars. Dots.");
    }

    #[test]
    fn characters_that_no_font_has_are_counted_wherever_they_are_drawn() {
        let caption = Caption::new("🦀".to_owned(), "of 🦀".to_owned());
        let caption = caption.draws(["🦀"]).finish();
        assert!(
            caption.contains("3 characters that the figure's fonts lack"),
            "{caption}"
        );
    }
}
