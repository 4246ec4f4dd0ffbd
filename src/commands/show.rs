//! `attnlab show`: the value of every key, and the layer that set it.

use std::path::Path;

use serde_json::{Value, json};

use super::table::wrap;
use super::{count, print, print_json};
use crate::config::{self, Experiment, Origins, Setting};
use crate::error::Result;
use crate::progress::{columns, output_width};

/// Origins are aligned unless a line is longer than this many characters.
const WIDEST: usize = 60;

pub fn show(file: &Path, set: &[String], as_json: bool) -> Result<()> {
    let origins = config::origins(file, set)?;
    if as_json {
        return print_json(&to_json(&origins));
    }
    print(text(&origins))
}

/// The settings as TOML, table by table, and the points as comments.
fn text(origins: &Origins) -> String {
    let mut text = String::new();
    let is_one_table = |a: &Setting, b: &Setting| split(&a.key).0 == split(&b.key).0;
    for settings in origins.settings.chunk_by(is_one_table) {
        let (table, _) = split(&settings[0].key);
        text += &lines(settings);
        let unset = origins.unset.iter().map(|key| split(key));
        let unset = unset.filter_map(|(of, key)| (of == table).then_some(key));
        let unset: Vec<&str> = unset.collect();
        if !unset.is_empty() {
            text += &format!("# not set: {}\n", unset.join(", "));
        }
        text.push('\n');
    }
    text + &points(&origins.experiment)
}

/// Splits a dotted key into its table and the key within it.
fn split(key: &str) -> (&str, &str) {
    key.split_once('.').unwrap_or(("", key))
}

fn lines(settings: &[Setting]) -> String {
    let left = |setting: &Setting| format!("{} = {}", setting.key, toml(&setting.value));
    let left: Vec<String> = settings.iter().map(left).collect();
    let width = left.iter().map(|line| line.chars().count()).max();
    let width = width.unwrap_or(0).min(WIDEST);
    let rows = left.iter().zip(settings);
    let row = |(line, setting): (&String, &Setting)| {
        let whole = format!("{line:<width$}  # {}\n", setting.origin);
        match columns(whole.trim_end()) <= output_width() {
            true => whole,
            // If they do not fit on one line, the origin goes above its key.
            false => format!("# {}:\n{line}\n", setting.origin),
        }
    };
    rows.map(row).collect()
}

/// A value in TOML notation, which differs from JSON only in spacing.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

fn points(experiment: &Experiment) -> String {
    let seeds: Vec<String> = experiment.seeds.iter().map(u64::to_string).collect();
    let points = experiment.points.iter();
    let mut text = format!(
        "# {}, each with {} {}; below results/{}:",
        count(points.len(), "point"),
        if seeds.len() == 1 { "seed" } else { "seeds" },
        seeds.join(", "),
        experiment.name
    );
    let folders: Vec<String> = points.clone().map(config::Point::folder).collect();
    let width = folders.iter().map(String::len).max().unwrap_or(0);
    for (point, folder) in points.zip(&folders) {
        let values = point.values();
        let values = values.map(|(key, value)| format!("{key} = {value}"));
        let label = label(experiment, point).map(|label| format!("({label})"));
        let says: Vec<String> = values.chain(label).collect();
        let says = says.join("  ");
        let line = format!("#   {folder:<width$}  {says}");
        let lines = match columns(line.trim_end()) <= output_width() {
            true => vec![line.trim_end().to_owned()],
            false => {
                let below = wrap(&says, output_width().saturating_sub(6), 0);
                let below = below.into_iter().map(|line| format!("#     {line}"));
                [format!("#   {folder}")].into_iter().chain(below).collect()
            }
        };
        lines.iter().for_each(|line| text += &format!("\n{line}"));
    }
    text
}

/// The label that the file gives to a point, if any.
fn label<'a>(experiment: &Experiment, point: &'a config::Point) -> Option<&'a str> {
    (!experiment.labels.is_empty()).then_some(point.label.as_str())
}

fn to_json(origins: &Origins) -> Value {
    let experiment = &origins.experiment;
    let point = |point: &config::Point| {
        let settings = json!(point.settings);
        let value = |key: &str| settings.pointer(&format!("/{}", key.replace('.', "/")));
        let values = point.values();
        let values = values.map(|(key, _)| (key.clone(), json!(value(key))));
        json!({
            "folder": point.folder(),
            "label": label(experiment, point),
            "values": values.collect::<serde_json::Map<_, _>>(),
            "draw": point.draw.as_ref().map(|draw| draw.number),
            "seeds": experiment.seeds,
        })
    };
    json!({
        "name": experiment.name,
        "settings": origins.settings,
        "unset": origins.unset,
        "points": experiment.points.iter().map(point).collect::<Vec<_>>(),
    })
}
