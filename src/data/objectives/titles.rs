//! The titles of documents, and the words and full stops by which they are found.

/// Where the title of a document ends, with the space behind it: at the first full stop that does not follow an initial.
/// A document whose first sentence is longer than a title begins with its first run of capitalised words instead.
pub(super) fn title_end(text: &str) -> usize {
    const MOST_WORDS: usize = 6;
    let mut stops = text.match_indices(". ").map(|(at, _)| at);
    let stop = stops.find(|&at| !ends_initial(text, at)).map(|at| at + 2);
    let is_title = |&end: &usize| text[..end].split_whitespace().count() <= MOST_WORDS;
    stop.filter(is_title).unwrap_or_else(|| {
        let mut end = 0;
        for word in text.split_inclusive(' ') {
            if !word.starts_with(char::is_uppercase) {
                break;
            }
            end += word.len();
            if words(word)
                .next()
                .is_none_or(|letters| letters != word.trim_end())
            {
                break;
            }
        }
        end
    })
}

/// Whether the full stop at this byte follows an initial.
pub(super) fn ends_initial(text: &str, at: usize) -> bool {
    let word = text[..at].rsplit([' ', '.']).next().unwrap_or_default();
    word.chars().count() <= 1
}

/// The words of a text, without the signs between them.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_within = |c: char| c.is_alphanumeric() || c == '\'' || c == '-';
    let words = text.split(move |c| !is_within(c));
    words.filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_ends_at_a_full_stop_that_ends_no_initial() {
        let title = |text: &'static str| &text[..title_end(text)];
        for (text, expected) in [
            ("Ada Moss. Born in Lima, she", "Ada Moss. "),
            ("Ada P. Moss. Ada P Moss was", "Ada P. Moss. "),
            ("Bedük. Serhat Bedük is", "Bedük. "),
            ("Ada Moss was born in Lima, far away. She", "Ada Moss "),
            ("Ada Moss-Ray, born in Lima", "Ada Moss-Ray, "),
            ("nothing here", ""),
            ("", ""),
        ] {
            assert_eq!(title(text), expected, "{text}");
        }
    }
}
