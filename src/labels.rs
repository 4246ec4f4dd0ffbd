//! Shortening the labels of points so that different points keep different labels.
//!
//! Figures measure a label in pixels and terminals in columns, so both pass a function that says whether a
//! label fits. What all labels share is cut first, since it does not distinguish them:
//! `model.attention.kind = rope` becomes `…kind = rope`, not `model.attention.k…`.

use std::collections::{BTreeMap, BTreeSet};

/// Replaces omitted text.
const ELLIPSIS: char = '…';
/// Most tokens of a label before the rest becomes one more. Comparing two labels takes time proportional to the
/// product of their token counts.
const MOST_TOKENS: usize = 200;

/// Shortens every label until it `fits`; one that already does stays as it is.
///
/// Parts common to all labels are cut first. If that is not enough, the labels are cut at the end, at the start or in
/// the middle, whichever keeps the most of them distinct, and any that are still equal get their position in the
/// list, from 1, as a suffix. So different labels stay different, and exceed the width only if not even a number
/// fits.
pub fn shorten_apart(labels: &[String], fits: &dyn Fn(&str) -> bool) -> Vec<String> {
    if labels.iter().all(|label| fits(label)) {
        return labels.to_vec();
    }
    let tokens: Vec<Vec<&str>> = labels.iter().map(|label| tokens(label)).collect();
    let alike = common_tokens(&tokens);
    let squeezed = tokens
        .iter()
        .zip(labels)
        .map(|(tokens, label)| match fits(label) {
            true => label.clone(),
            false => squeeze(&segments(tokens, &alike), fits),
        });
    let squeezed: Vec<String> = squeezed.collect();
    let cut = |keep| -> Vec<String> { squeezed.iter().map(|one| cut(one, keep, fits)).collect() };
    let candidates = [Keep::Start, Keep::End, Keep::Both].map(cut);
    let differing = |labels: &Vec<String>| labels.iter().collect::<BTreeSet<_>>().len();
    // On a tie, the first.
    let best = candidates.into_iter().rev().max_by_key(differing);
    number_duplicates(best.unwrap_or(squeezed), labels, fits)
}

/// Splits a label into tokens: whole words and numbers, every other character alone, and what follows
/// [`MOST_TOKENS`] as one.
fn tokens(label: &str) -> Vec<&str> {
    let (mut starts, mut is_in_word) = (vec![], false);
    for (at, c) in label.char_indices() {
        if !(is_in_word && c.is_alphanumeric()) {
            starts.push(at);
        }
        is_in_word = c.is_alphanumeric();
    }
    starts.truncate(MOST_TOKENS + 1);
    let ends = starts.iter().skip(1).copied().chain([label.len()]);
    let token = |(start, end): (&usize, usize)| &label[*start..end];
    starts.iter().zip(ends).map(token).collect()
}

/// A common subsequence of the tokens of all labels.
fn common_tokens<'a>(labels: &[Vec<&'a str>]) -> Vec<&'a str> {
    let common = labels.iter().cloned();
    let common = common.reduce(|common, label| longest_common(&common, &label));
    common.unwrap_or_default()
}

/// The longest common subsequence of two lists.
fn longest_common<'a>(a: &[&'a str], b: &[&str]) -> Vec<&'a str> {
    let alike = |(a, b): &(&&str, &&str)| a == b;
    let start = a.iter().zip(b).take_while(alike).count();
    let (start, a, b) = (&a[..start], &a[start..], &b[start..]);
    let end = a.iter().rev().zip(b.iter().rev()).take_while(alike).count();
    let ((a, end), b) = (a.split_at(a.len() - end), &b[..b.len() - end]);
    [start, &longest_common_between(a, b), end].concat()
}

/// The longest common subsequence of two lists without a common prefix or suffix, by dynamic programming.
fn longest_common_between<'a>(a: &[&'a str], b: &[&str]) -> Vec<&'a str> {
    // `length[i][j]`: length of the longest common subsequence of `a[i..]` and `b[j..]`.
    let mut length = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            length[i][j] = match a[i] == b[j] {
                true => length[i + 1][j + 1] + 1,
                false => length[i + 1][j].max(length[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut common) = (0, 0, vec![]);
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            common.push(a[i]);
            (i, j) = (i + 1, j + 1);
        } else if length[i + 1][j] >= length[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    common
}

/// A part of a label: common to all labels, or specific to this one.
#[derive(Clone, Debug, PartialEq)]
struct Segment {
    text: String,
    is_alike: bool,
}

/// Splits a label into parts that are common to all labels (`alike`) and parts that are not.
fn segments(tokens: &[&str], alike: &[&str]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = vec![];
    let mut expected = alike.iter().peekable();
    for token in tokens {
        let is_alike = expected.next_if(|next| *next == token).is_some();
        match segments.last_mut() {
            Some(last) if last.is_alike == is_alike => last.text += token,
            _ => segments.push(Segment {
                text: (*token).to_owned(),
                is_alike,
            }),
        }
    }
    segments
}

/// The label with its common parts cut to the greatest length with which it fits, or to nothing.
fn squeeze(segments: &[Segment], fits: &dyn Fn(&str) -> bool) -> String {
    let alike = segments.iter().filter(|segment| segment.is_alike);
    let longest = alike.map(|one| one.text.chars().count()).max().unwrap_or(0);
    let last = segments.len().saturating_sub(1);
    let cut_to = |length: usize| -> String {
        let shown = segments.iter().enumerate();
        let shown = shown.map(|(i, segment)| match segment.is_alike {
            true if i == last => limit(&segment.text, length, Keep::Start),
            // Keep the end of the text before a value, which names it: `…kind = rope`.
            true => limit(&segment.text, length, Keep::End),
            false => segment.text.clone(),
        });
        shown.collect()
    };
    longest_fitting(longest, &cut_to, fits)
}

/// The longest text, of length at most `longest`, that `fits`; of length 0 if none does. Found by bisection.
fn longest_fitting(
    longest: usize,
    of_length: &dyn Fn(usize) -> String,
    fits: &dyn Fn(&str) -> bool,
) -> String {
    let (mut fitting, mut best) = (0, of_length(0));
    let mut too_long = longest + 1;
    while fitting + 1 < too_long {
        let middle = fitting + (too_long - fitting) / 2;
        let text = of_length(middle);
        if fits(&text) {
            (fitting, best) = (middle, text);
        } else {
            too_long = middle;
        }
    }
    best
}

/// Which end of a text is kept.
#[derive(Clone, Copy, Debug)]
enum Keep {
    Start,
    End,
    Both,
}

/// `text` shortened to `length` characters and an ellipsis.
fn limit(text: &str, length: usize, keep: Keep) -> String {
    let all: Vec<char> = text.chars().collect();
    let (head, tail) = match keep {
        // An ellipsis would be no shorter than the text it replaces.
        _ if all.len() <= length.max(1) => return text.to_owned(),
        Keep::Start => (length, 0),
        Keep::End => (0, length),
        Keep::Both => (length - length / 2, length / 2),
    };
    let head = all[..head].iter().collect::<String>();
    let tail = all[all.len() - tail..].iter().collect::<String>();
    let separates = |c: char| !c.is_alphanumeric() && !matches!(c, '-' | '+' | '(' | ')');
    let tail = tail.trim_start_matches(separates);
    format!("{}{ELLIPSIS}{tail}", head.trim_end_matches(separates))
}

/// `label` cut until it fits.
fn cut(label: &str, keep: Keep, fits: &dyn Fn(&str) -> bool) -> String {
    if fits(label) {
        return label.to_owned();
    }
    let longest = label.chars().count().saturating_sub(1);
    match longest {
        0 => ELLIPSIS.to_string(),
        longest => longest_fitting(longest, &|length| limit(label, length, keep), fits),
    }
}

/// Appends its position in the list to every label that became equal to another.
fn number_duplicates(
    shortened: Vec<String>,
    labels: &[String],
    fits: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let mut meant: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
    for (short, label) in shortened.iter().zip(labels) {
        meant.entry(short).or_default().insert(label);
    }
    let number = |(i, short): (usize, &String)| {
        let position = i + 1;
        if meant[short].len() < 2 || *short == labels[i] {
            return short.clone();
        }
        let with_number = |text: &str| format!("{text} #{position}");
        let fits_with_number = |text: &str| fits(&with_number(text));
        let start = short.trim_end_matches(ELLIPSIS);
        let whole = with_number(&cut(start, Keep::Start, &fits_with_number));
        match fits(&whole) {
            true => whole,
            false => format!("#{position}"),
        }
    };
    shortened.iter().enumerate().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shortened(labels: &[&str], columns: usize) -> Vec<String> {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        shorten_apart(&labels, &|text| text.chars().count() <= columns)
    }

    #[test]
    fn labels_that_fit_are_kept_and_common_parts_are_cut_first() {
        let kinds = [
            "model.attention.kind = rope",
            "model.attention.kind = alibi",
        ];
        assert_eq!(shortened(&kinds, 40), kinds);
        assert_eq!(shortened(&kinds, 14), ["…n.kind = rope", "…kind = alibi"]);
        assert_eq!(shortened(&kinds, 6), ["…rope", "…alibi"]);
        let two_keys = [
            "pretrain.learning_rate = 0.001, model.dropout = 0.1",
            "pretrain.learning_rate = 0.002, model.dropout = 0.1",
            "pretrain.learning_rate = 0.001, model.dropout = 0.2",
        ];
        let expected = [
            "…te = 0.001…ut = 0.1",
            "…te = 0.002…ut = 0.1",
            "…te = 0.001…ut = 0.2",
        ];
        assert_eq!(shortened(&two_keys, 20), expected);
        let ends = ["3 epochs of pretraining", "60 epochs of pretraining"];
        assert_eq!(shortened(&ends, 12), ["3 epochs of…", "60 epochs o…"]);
    }

    #[test]
    fn labels_that_differ_in_one_letter_stay_different() {
        let start = "data-augmentation-".repeat(4);
        let labels: Vec<String> = ('a'..='z').map(|c| format!("{start}{c}{start}")).collect();
        for columns in [4, 8, 20] {
            let short = shorten_apart(&labels, &|text| text.chars().count() <= columns);
            assert_eq!(short.iter().collect::<BTreeSet<_>>().len(), 26, "{short:?}");
        }
    }

    #[test]
    fn labels_that_would_be_equal_are_numbered() {
        let labels = ["a".repeat(40), "b".repeat(40), "a".repeat(41)];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        assert_eq!(shortened(&labels, 8), ["aaaa… #1", "bbbbbbb…", "aaaa… #3"]);
        // Equal labels belong to the same point.
        assert_eq!(shortened(&["aaaaaa", "aaaaaa"], 3), ["aa…", "aa…"]);
        assert_eq!(shortened(&[], 3), [""; 0]);
    }

    #[test]
    fn a_label_of_many_words_is_tried_at_few_lengths() {
        let labels = ["a", "b"].map(|own| "word ".repeat(20_000) + own + &" end".repeat(20_000));
        let tries = std::cell::Cell::new(0);
        let fits = |text: &str| {
            tries.set(tries.get() + 1);
            text.len() <= 12
        };
        let short = shorten_apart(&labels, &fits);
        assert!(short[0] != short[1] && short.iter().all(|one| one.len() <= 12));
        assert!(tries.get() < 300, "{} tries", tries.get());
    }

    proptest! {
        #[test]
        fn different_labels_fit_and_stay_different(
            labels in proptest::collection::btree_set("[ab=. …é]{0,12}|model\\.[a-c]{1,3} = [0-9]{1,9}", 1..30),
            columns in 4usize..30,
        ) {
            let labels: Vec<String> = labels.into_iter().collect();
            let fits = |text: &str| text.chars().count() <= columns;
            let short = shorten_apart(&labels, &fits);
            prop_assert!(short.iter().all(|label| fits(label)), "{short:?}");
            let different: BTreeSet<&String> = short.iter().collect();
            prop_assert_eq!(different.len(), labels.len(), "{:?} as {:?}", labels, short);
        }
    }
}
