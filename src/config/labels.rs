//! The display names of points.
//!
//! By default a point is named after what the sweep sets there: `pretrain.epochs = 100, model.dropout = 0.1`.
//! Settings that are the same at all points are left out of the names and become their [`Names::context`].
//! A table of `labels` replaces a value, or several together, with a name; a list names the points in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::layers::Fault;
use super::schema::Labels;
use super::sweep::PointValues;
use super::{overrides, tree, wording};

/// The name of a draw's number, used in place of a key.
const DRAW: &str = "draw";

/// The names of all points.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// One for each point, in order.
    pub(super) labels: Vec<String>,
    /// At each point, in order: the keys of the sweep whose values the file names, each with that name.
    pub(super) of_values: Vec<BTreeMap<String, String>>,
    /// Settings of the sweep with the same value at all points, if the labels leave them out.
    pub(super) context: Vec<String>,
    /// Names that cannot be used, at their keys.
    pub(super) faults: Vec<Fault>,
    /// A warning about a name that seems to belong to another point.
    pub(super) warning: Option<String>,
}

impl Names {
    /// Names the points of a sweep; `experiment` is what the only point is called without one.
    pub(super) fn of(labels: &Labels, sweep: &[PointValues], experiment: &str) -> Self {
        let points: Vec<Vec<Part>> = sweep.iter().map(parts).collect();
        match labels {
            Labels::InOrder(names) if !names.is_empty() => Self {
                warning: misplaced(names, &points),
                labels: names.clone(),
                of_values: vec![BTreeMap::new(); points.len()],
                ..Self::default()
            },
            Labels::InOrder(_) => by_value(&[], &points, experiment),
            Labels::ByValue(table) => {
                let mut faults = vec![];
                let mut rules: Vec<Rule> = vec![];
                let known = values(&points);
                for (text, name) in table {
                    match rule(text, name, (&points, &known), &rules) {
                        Ok(rule) => rules.push(rule),
                        Err(fault) => faults.push(fault),
                    }
                }
                let names = by_value(&rules, &points, experiment);
                if faults.is_empty() {
                    faults.extend(duplicate(&names.labels, &rules, &points));
                }
                Self { faults, ..names }
            }
        }
    }
}

/// The labels that name a value, or values together, of some point: those that a file can lose when its sweep is set from
/// outside, by a profile or `--set`.
pub(super) fn applying(labels: &Labels, sweep: &[PointValues]) -> Labels {
    let Labels::ByValue(table) = labels else {
        return labels.clone();
    };
    let points: Vec<Vec<Part>> = sweep.iter().map(parts).collect();
    let known = values(&points);
    let wrong = |message: String| Fault::new(message);
    let applies = |text: &String| {
        // What is no condition at all is reported as ever.
        let Some(conditions) = conditions(text) else {
            return true;
        };
        let parts = conditions.into_iter();
        let parts = parts.map(|(key, value)| part(key, value, (&points, &known), &wrong));
        let parts: Result<Vec<Part>, Fault> = parts.collect();
        let has = |parts: Vec<Part>| {
            let holds = |point: &&Vec<Part>| parts.iter().all(|part| point.contains(part));
            points.iter().any(|point| holds(&point))
        };
        parts.is_ok_and(has)
    };
    let kept = table.iter().filter(|(text, _)| applies(text));
    Labels::ByValue(
        kept.map(|(text, name)| (text.clone(), name.clone()))
            .collect(),
    )
}

/// What the sweep sets at one point under one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    key: String,
    /// As a user would write it.
    value: String,
}

impl Part {
    /// As a label says it.
    fn text(&self) -> String {
        match self.key.as_str() {
            DRAW => format!("{DRAW} {}", self.value),
            _ => self.written(),
        }
    }

    /// The text in a table of labels: `KEY = VALUE`.
    fn written(&self) -> String {
        format!("{} = {}", self.key, self.value)
    }
}

/// The grid's values in the order of the axes, then the number of the draw.
fn parts(point: &PointValues) -> Vec<Part> {
    let draw = point.draw.map(|n| (DRAW.to_owned(), n.to_string()));
    let parts = point.texts(false).into_iter().chain(draw);
    parts.map(|(key, value)| Part { key, value }).collect()
}

/// The values of each key, each once, in the order of the points.
type Values<'p> = BTreeMap<&'p str, Vec<&'p str>>;

fn values(points: &[Vec<Part>]) -> Values<'_> {
    let mut seen = BTreeSet::new();
    let mut values = Values::new();
    for part in points.iter().flatten().filter(|part| seen.insert(*part)) {
        values.entry(&part.key).or_default().push(&part.value);
    }
    values
}

/// An entry of a table of labels: `name` replaces these parts in the label of each point that has all of them.
#[derive(Debug)]
struct Rule<'t> {
    /// The key of the entry.
    text: &'t str,
    name: &'t str,
    /// Sorted.
    parts: Vec<Part>,
}

impl Rule<'_> {
    fn holds_at(&self, point: &[Part]) -> bool {
        self.parts.iter().all(|part| point.contains(part))
    }
}

/// Reads an entry. `before` are those that were read already.
fn rule<'t>(
    text: &'t str,
    name: &'t str,
    (points, known): (&[Vec<Part>], &Values<'_>),
    before: &[Rule<'_>],
) -> Result<Rule<'t>, Fault> {
    let wrong = |message: String| Fault::at_key(&["labels", text], message);
    let Some(example) = points[0].first() else {
        let message = format!("`labels` names {text:?}, but the experiment has no sweep");
        return Err(wrong(message).help("write labels = [\"…\"] for its only point"));
    };
    if name.trim().is_empty() {
        let message = format!("the label of {text:?} is empty");
        return Err(wrong(message).help("say what its points are called"));
    }
    let Some(conditions) = conditions(text) else {
        let message = format!("{text:?} in `labels` is not a value of the sweep");
        let how = "write a key of the sweep and its value, such as";
        return Err(wrong(message).help(format!("{how} {:?} = \"…\"", example.written())));
    };
    let mut parts = vec![];
    for (key, value) in conditions {
        parts.push(part(key, value, (points, known), &wrong)?);
    }
    parts.sort();
    let rule = Rule { text, name, parts };
    match conflict(&rule, points, before) {
        Some((message, help)) => Err(wrong(message).help(help)),
        None => Ok(rule),
    }
}

/// Why an entry conflicts with the sweep or with earlier entries, and how to fix it.
fn conflict(
    rule: &Rule<'_>,
    points: &[Vec<Part>],
    before: &[Rule<'_>],
) -> Option<(String, &'static str)> {
    let text = rule.text;
    let own: Vec<&Vec<Part>> = points.iter().filter(|point| rule.holds_at(point)).collect();
    if own.is_empty() {
        let message = format!("no point of the sweep has {text}");
        return Some((message, "each of these values is of other points"));
    }
    if let Some(Rule { text: same, .. }) = before.iter().find(|one| one.parts == rule.parts) {
        let message = format!("`labels` has {same:?} and {text:?}, which are the same");
        return Some((message, "remove one of them"));
    }
    let clashes = |other: &&Rule<'_>| {
        let is_shared = other.parts.iter().any(|part| rule.parts.contains(part));
        let is_within = other.holds_at(&rule.parts) || rule.holds_at(&other.parts);
        is_shared && !is_within && own.iter().any(|point| other.holds_at(point))
    };
    let Rule { text: other, .. } = before.iter().find(clashes)?;
    let message = format!("{other:?} and {text:?} in `labels` name the same point");
    Some((message, "name it by all of their values together"))
}

/// The key and value of `a = 1, b = 2`, pair by pair; commas in brackets belong to a value, and so does
/// one that no key follows.
fn conditions(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut depth = 0;
    let is_end = move |c: char| {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    };
    let mut starts = vec![0];
    for piece in text.split(is_end) {
        let at = piece.as_ptr() as usize - text.as_ptr() as usize;
        if at > 0 && piece.contains('=') {
            starts.push(at);
        }
    }
    let ends = starts.iter().skip(1).map(|start| start - 1);
    let ends = ends.chain([text.len()]);
    let pair = |(start, end): (&usize, usize)| {
        let (key, value) = text[*start..end].split_once('=')?;
        Some((key.trim(), value.trim()))
    };
    starts.iter().zip(ends).map(pair).collect()
}

/// The part of a point that is meant by a key and a value as somebody wrote them.
fn part(
    key: &str,
    value: &str,
    (points, known): (&[Vec<Part>], &Values<'_>),
    wrong: &dyn Fn(String) -> Fault,
) -> Result<Part, Fault> {
    let key = key.replace('"', "");
    let Some(known) = known.get(key.as_str()) else {
        let keys: Vec<&str> = points[0].iter().map(|part| part.key.as_str()).collect();
        let message = format!("`labels` names `{key}`, which the sweep does not set");
        return Err(match wording::nearest(&key, &keys) {
            Some(meant) => wrong(format!("{message}; did you mean `{meant}`?")),
            None => wrong(message).help(format!("it sets {}", wording::list(&keys, "and"))),
        });
    };
    let written = overrides::value(value).map_or(String::new(), |value| tree::text(&value));
    let number = |text: &str| text.parse::<f64>().ok();
    let meant = number(&written);
    let is_meant = |own: &&&str| {
        let same_number = meant.is_some() && number(own) == meant;
        **own == value || **own == written || same_number
    };
    let Some(own) = known.iter().find(is_meant) else {
        let message = format!("`labels` names `{key}` = {value}, which no point has");
        return Err(wrong(message).help(format!("its values are {}", wording::list(known, "and"))));
    };
    let value = (*own).to_owned();
    Ok(Part { key, value })
}

/// Names points after the values of the sweep. A rule's name replaces the parts it covers, in the place of the first
/// of them; of two rules the one with more parts applies.
fn by_value(rules: &[Rule<'_>], points: &[Vec<Part>], experiment: &str) -> Names {
    let mut rules: Vec<&Rule<'_>> = rules.iter().collect();
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.parts.len()));
    let known = values(points);
    let is_shared = |part: &Part| points.len() > 1 && known[part.key.as_str()].len() == 1;
    let is_named = |part: &Part| rules.iter().any(|rule| rule.parts.contains(part));
    let left_out = points.iter().take(1).flatten();
    let left_out = left_out.filter(|part| is_shared(part) && !is_named(part));
    let left_out: Vec<&Part> = left_out.collect();
    let label = |point: &Vec<Part>| {
        let mut said: Vec<(usize, String)> = vec![];
        let mut covered = BTreeSet::new();
        for rule in rules.iter().filter(|rule| rule.holds_at(point)) {
            let mut own: Vec<usize> = (0..point.len()).collect();
            own.retain(|i| rule.parts.contains(&point[*i]));
            if own.iter().all(|i| !covered.contains(i)) {
                said.push((own[0], rule.name.to_owned()));
                covered.extend(own);
            }
        }
        let rest = point.iter().enumerate();
        let rest = rest.filter(|(i, part)| !covered.contains(i) && !left_out.contains(part));
        said.extend(rest.map(|(i, part)| (i, part.text())));
        said.sort();
        let said: Vec<String> = said.into_iter().map(|(_, text)| text).collect();
        match said.is_empty() {
            true => experiment.to_owned(),
            false => said.join(", "),
        }
    };
    let of_values = |point: &Vec<Part>| {
        let own = rules.iter().filter(|rule| rule.holds_at(point));
        let own = own.filter_map(|rule| match &rule.parts[..] {
            [part] => Some((part.key.clone(), rule.name.to_owned())),
            _ => None,
        });
        own.collect()
    };
    Names {
        labels: points.iter().map(label).collect(),
        of_values: points.iter().map(of_values).collect(),
        context: left_out.iter().map(|part| part.text()).collect(),
        ..Names::default()
    }
}

/// A fault if two points have the same label, at the entry of `labels` that names the second.
fn duplicate(labels: &[String], rules: &[Rule<'_>], points: &[Vec<Part>]) -> Option<Fault> {
    let mut before = BTreeMap::new();
    let mut pairs = labels.iter().enumerate();
    let (first, second) = pairs.find_map(|(i, label)| Some((before.insert(label, i)?, i)))?;
    let naming = rules.iter().rfind(|rule| rule.holds_at(&points[second]));
    let key = ["labels"].into_iter().chain(naming.map(|rule| rule.text));
    let (a, b, label) = (text(&points[first]), text(&points[second]), &labels[second]);
    let message = format!("two points would be called {label:?}: {a}, and {b}");
    let fault = Fault::at_key(&key.collect::<Vec<_>>(), message);
    Some(fault.help("give each point its own name"))
}

fn text(point: &[Part]) -> String {
    let parts: Vec<String> = point.iter().map(Part::text).collect();
    parts.join(", ")
}

/// The problem with the first listed name that mentions the value of another point instead of its own.
fn misplaced(names: &[String], points: &[Vec<Part>]) -> Option<String> {
    // Looked up by value, normalised like the names, because a sweep may have thousands of points.
    let mut known = HashMap::<String, BTreeSet<&Part>>::new();
    for part in points.iter().flatten() {
        known.entry(plain(&part.value)).or_default().insert(part);
    }
    let longest = known.keys().map(String::len).max().unwrap_or(0);
    let mut pairs = names.iter().zip(points).enumerate();
    pairs.find_map(|(i, (name, point))| {
        let text = plain(name);
        let said = phrases(&text, longest).into_iter().filter_map(|phrase| known.get(phrase));
        let said: BTreeSet<&Part> = said.flatten().copied().collect();
        let is_own = |value: &str| point.iter().any(|part| part.value == value);
        let is_other = |key: &str| {
            let mut others = said.iter().filter(|other| other.key == key);
            others.any(|other| !is_own(&other.value))
        };
        let is_misplaced = |part: &&Part| !said.contains(part) && is_other(&part.key);
        point.iter().find(is_misplaced).map(|part| {
            format!(
                "`labels` calls the point with {} \"{name}\" (name {} of the list): points are in the order \
                 that `attnlab show` prints, and a table of labels such as {{ {:?} = \"…\" }} does not depend on it",
                part.text(),
                i + 1,
                part.written(),
            )
        })
    })
}

/// All substrings of whole words, of at most `longest` bytes.
fn phrases(text: &str, longest: usize) -> Vec<&str> {
    let is_within = |c: char| c.is_alphanumeric() || c == '.';
    let places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    let (mut starts, mut ends): (Vec<usize>, Vec<usize>) =
        (places.clone().collect(), places.collect());
    starts.retain(|at| !text[..*at].ends_with(is_within));
    ends.retain(|at| !text[*at..].starts_with(is_within));
    let phrases = starts.into_iter().flat_map(|start| {
        let after = &ends[ends.partition_point(|end| *end <= start)..];
        let near = after.iter().take_while(move |end| **end - start <= longest);
        near.map(move |end| &text[start..*end])
    });
    phrases.collect()
}

/// A text as far as spelling matters.
fn plain(text: &str) -> String {
    text.to_lowercase().replace(['-', '_'], " ")
}
