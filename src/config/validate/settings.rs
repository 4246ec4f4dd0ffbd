//! Rules about one point's settings.

use std::collections::BTreeSet;

use super::Rules;
use crate::config::layers::Fault;
use crate::config::schema::{
    AttentionMapsSpec, DeviceKind, EXCERPT_MARGIN, EvaluateSpec, ModelSpec, PretrainSpec, Reported,
    ScheduleSpec, Settings, Training, ValidateSpec,
};
use crate::config::wording;
use crate::data::Split;
use crate::data::objectives::{Objective, Reads};
use crate::eval::measures::Measure;
use crate::kinds::{Listed as _, Named, joined};
use crate::metrics::rows::MOST_MAPPED;
use crate::train::schedule::forms::Form;

/// Below this cap scores are so close that attention is all but uniform.
const LEAST_SOFTCAP: f64 = 0.01;

/// Everything that is wrong with one point's values. `skipped` are the keys not to look at.
pub fn check(settings: &Settings, skipped: &[String]) -> Vec<Fault> {
    let mut rules = Rules::new(skipped);
    for broken in settings.data.check() {
        rules.of_kind("data", broken, &[]);
    }
    model(&mut rules, &settings.model);
    let context = settings.model.context;
    if let Some(stage) = &settings.pretrain {
        pretrain(&mut rules, stage, context);
        rewording(&mut rules, stage, settings);
        let objective = ("pretrain.objective", stage.objective);
        objectives(&mut rules, std::iter::once(objective), settings);
        training(&mut rules, "pretrain", &stage.training(), settings);
        schedule(&mut rules, "pretrain", &stage.schedule);
    }
    if let Some(stage) = &settings.finetune {
        training(&mut rules, "finetune", stage, settings);
        let offers = settings.data.offers();
        if !offers.questions && !offers.examples {
            let message = "`[finetune]` learns to answer questions, but the data has none";
            rules.helped(
                &["finetune", "data"],
                message,
                "remove the table, or set `data.questions`",
            );
        }
        let pretrains = settings.pretrain.as_ref().is_some_and(|p| p.epochs > 0);
        if stage.init.is_some() && pretrains {
            rules.helped(
                &["finetune.init", "pretrain.epochs"],
                "`finetune.init` replaces the weights that `[pretrain]` makes",
                "set `pretrain.epochs = 0`, or leave `init` out",
            );
        }
        schedule(&mut rules, "finetune", &stage.schedule);
    }
    if let Some(stage) = &settings.evaluate {
        let trained = settings.pretrain.is_some() || settings.finetune.is_some();
        evaluate(&mut rules, stage, trained);
        measured(&mut rules, stage, settings);
        if let Some(numbers) = &stage.reported {
            reported(&mut rules, numbers, &settings.measures());
        }
    }
    if settings.device == DeviceKind::Cpu && settings.precision.is_gpu_only() {
        rules.helped(
            &["precision", "device"],
            format!(
                "`precision` = \"{}\" needs CUDA: the CPU supports \"f32\" and \"bf16\"",
                settings.precision.name()
            ),
            "set `device` to \"cuda\" or \"auto\", or change `precision`",
        );
    }
    rules.faults
}

fn model(rules: &mut Rules<'_>, spec: &ModelSpec) {
    let (heads, head_dim, embed) = (spec.heads, spec.head_dim, spec.embed);
    if heads.checked_mul(head_dim) != Some(embed) {
        let given = format!("`model.heads` = {heads} and `model.head_dim` = {head_dim}");
        let possible = format!("`model.heads` can be {}", divisors(embed));
        rules.helped(
            &["model.heads", "model.head_dim", "model.embed"],
            format!("{given} must multiply to `model.embed` = {embed}"),
            format!("{possible}, with `model.head_dim` = {embed} / heads"),
        );
    }
    attention(rules, spec);
}

fn attention(rules: &mut Rules<'_>, spec: &ModelSpec) {
    let pattern = "model.pattern";
    for name in spec.attention.layers.keys() {
        let table = format!("model.attention.{name}");
        // The only other table that there is.
        let meant = wording::nearest(name, &["rotary"]);
        let is_named = spec.pattern.contains(name);
        if is_named || (meant.is_none() && !spec.pattern.is_empty()) {
            continue;
        }
        let meant = meant.map(|key| format!("; did you mean `model.attention.{key}`?"));
        let message = format!(
            "`{pattern}` does not name `[{table}]`{}",
            meant.unwrap_or_default()
        );
        let help = "remove the table, correct its name, or name it in the pattern";
        rules.helped(&[&table, pattern], message, help);
    }
    if spec.pattern.is_empty() {
        return sublayer(rules, spec, "model.attention");
    }
    if spec.attention.kind.0.is_network {
        let name = spec.attention.kind.0.name;
        let message =
            format!("`{pattern}` is for the layers of a GPT, but {name:?} is a network of its own");
        return rules.broken(&[pattern, "model.attention.kind"], message);
    }
    let names: BTreeSet<&String> = spec.pattern.iter().collect();
    for name in names {
        let table = format!("model.attention.{name}");
        if !spec.attention.layers.contains_key(name) {
            let message = format!("`{pattern}` names {name:?}, but there is no `[{table}]`");
            let help = "add the table, which may be empty, or correct the name";
            rules.helped(&[pattern], message, help);
            continue;
        }
        layer(rules, spec, name, &table);
    }
}

/// The layers that a pattern calls by a name.
fn layer(rules: &mut Rules<'_>, spec: &ModelSpec, name: &str, table: &str) {
    let of_layer = match spec.attention.of_layer(name) {
        Ok(of_layer) => of_layer,
        Err(error) => return rules.broken(&[table], format!("`[{table}]`: {error}")),
    };
    let kind = of_layer.kind.0;
    for key in spec.attention.layers[name].keys() {
        if !kind.has(key) {
            let why = kind.why_not(key).map(|why| format!(": {why}"));
            let (why, key) = (why.unwrap_or_default(), format!("{table}.{key}"));
            let takes = wording::list(&kind.takes(), "and");
            let message = format!(
                "`{key}` cannot be combined with `kind` = {:?}{why}",
                kind.name
            );
            let help = format!("remove the key, or change the kind; this one takes {takes}");
            rules.helped(&[&key, "model.attention.kind"], message, help);
        }
    }
    if kind.is_network {
        let message = format!(
            "`{table}.kind` = {:?} is a whole network and cannot be one layer",
            kind.name
        );
        return rules.broken(&[&format!("{table}.kind")], message);
    }
    let said = serde_json::to_value(&of_layer).unwrap_or_default();
    for key in kind.requires.iter().filter(|key| said.get(key).is_none()) {
        let message = format!(
            "`[{table}]` needs `{key}`, because its `kind` is {:?}",
            kind.name
        );
        rules.broken(&[table], message);
    }
    let alone = ModelSpec {
        attention: of_layer.into(),
        pattern: vec![],
        ..spec.clone()
    };
    sublayer(rules, &alone, table);
}

/// The attention of layers that are alike, and the table that says so.
fn sublayer(rules: &mut Rules<'_>, spec: &ModelSpec, table: &str) {
    let (kind, heads, head_dim) = (spec.attention.kind.0, spec.heads, spec.head_dim);
    if let Some((reads, why)) = (kind.refuses)(spec) {
        let key = format!("{table}.kind");
        let keys = [&[&*key], reads].concat();
        rules.broken(&keys, format!("`{key}` = {:?} {why}", kind.name));
    }
    let bound = spec.attention.softcap;
    if bound > 0.0 && bound < LEAST_SOFTCAP {
        let key = format!("{table}.softcap");
        let message =
            format!("`{key}` = {bound} must be at least {LEAST_SOFTCAP}, or 0 for no cap");
        rules.broken(&[&key], message);
    }
    if let Some(shared) = spec.attention.kv_heads
        && !heads.is_multiple_of(shared)
    {
        let key = format!("{table}.kv_heads");
        let why = "so that groups of equal size share keys and values";
        let message = format!("`{key}` = {shared} must divide `model.heads` = {heads}, {why}");
        rules.broken(&[&key, "model.heads"], message);
    }
    if let Some(rotary) = spec.attention.rotation() {
        let (key, set) = match spec.attention.rotary {
            Some(_) => (format!("{table}.rotary"), String::new()),
            None => (format!("{table}.kind"), format!(" = {:?}", kind.name)),
        };
        let (compared, half, of) = match kind.mechanism.maps() {
            1 => (head_dim, "", "a head"),
            maps => (head_dim / maps, "half of ", "half a head"),
        };
        if !compared.is_multiple_of(2) && head_dim.is_multiple_of(kind.mechanism.maps()) {
            let why = format!("and {half}`model.head_dim` = {head_dim} is odd");
            let message = format!("`{key}`{set} rotates pairs of channels, {why}");
            rules.broken(&[&key, "model.head_dim"], message);
        } else if rotary.channels(compared) == 0 {
            let (key, fraction) = (format!("{table}.rotary.fraction"), rotary.fraction);
            let says = format!("rotates none of the {compared} channels of {of}");
            let message = format!("`{key}` = {fraction} {says}");
            let help = "raise it, or set it to 0 for no rotation";
            rules.helped(&[&key, "model.head_dim"], message, help);
        }
    }
}

/// The divisors that make sense as a number of heads: up to 16 of them, none above 1024.
fn divisors(embed: usize) -> String {
    let fitting = (1..=embed.min(1024)).filter(|n| embed.is_multiple_of(*n));
    let fitting: Vec<String> = fitting.take(16).map(|n| n.to_string()).collect();
    fitting.join(", ")
}

fn pretrain(rules: &mut Rules<'_>, spec: &PretrainSpec, context: usize) {
    let [short, long] =
        ["shortest_excerpt", "longest_excerpt"].map(|key| format!("pretrain.{key}"));
    let most = context.saturating_sub(EXCERPT_MARGIN);
    let mixed = spec.mix.iter().map(|one| one.objective);
    let shows_excerpts = mixed.chain([spec.objective]).any(|one| one.0.shows_excerpt);
    if let Some(longest) = spec
        .longest_excerpt
        .filter(|&longest| longest > most && shows_excerpts)
    {
        let rule = format!("at most {most}, which is `model.context` - {EXCERPT_MARGIN}");
        let message = format!("`{long}` = {longest} must be {rule}");
        return rules.broken(&[&long, "model.context"], message);
    }
    let longest = spec.longest_excerpt(context);
    if let Some(shortest) = spec.shortest_excerpt.filter(|&shortest| shortest > longest) {
        let message = format!("`{short}` = {shortest} must be at most `{long}` = {longest}");
        rules.broken(&[&short, &long, "model.context"], message);
    }
}

/// Whether there is an objective that rewording applies to.
fn rewording(rules: &mut Rules<'_>, spec: &PretrainSpec, settings: &Settings) {
    let finetune = settings.finetune.iter().flat_map(|spec| &spec.mix);
    let mixed = spec.mix.iter().chain(finetune).map(|one| one.objective.0);
    let all: Vec<_> = mixed.chain([spec.objective.0]).collect();
    let broken = if spec.rewording.changes_text() && !all.iter().any(|one| one.corrupts) {
        Some("rewords documents for objectives that corrupt them, and there is none")
    } else if spec.rewording.noise > 0.0 && !all.iter().any(|one| one.reads == Reads::Documents) {
        Some("adds noise to documents, and no objective reads them")
    } else {
        None
    };
    if let Some(why) = broken {
        let message = format!("`pretrain.rewording` {why}");
        let help = "set `pretrain.objective` = \"cued-recall\" or \"span-corruption\", or remove the table";
        let keys = ["pretrain.rewording", "pretrain.objective", "pretrain.mix"];
        rules.helped(&keys, message, help);
    }
}

/// The parts of the data that objectives learn from.
fn objectives<'a>(
    rules: &mut Rules<'_>,
    all: impl Iterator<Item = (&'a str, Named<Objective>)>,
    settings: &Settings,
) {
    let offers = settings.data.offers();
    for (key, objective) in all {
        let (is_there, what) = match objective.0.reads {
            Reads::Documents => (offers.documents, "documents"),
            Reads::Answers => (offers.questions || offers.examples, "questions"),
        };
        if !is_there {
            let (name, data) = (objective.0.name(), settings.data.kind.name());
            let message =
                format!("`{key}` = {name:?} learns from {what}, but {data:?} data has none");
            let help = match offers.documents {
                true => "set `data.questions`, or choose an objective that reads documents",
                false => "set `pretrain.objective` = \"answers\"",
            };
            rules.helped(&[key, "data.kind", "data.questions"], message, help);
        }
    }
}

/// What is mixed into a stage, and the validations during it.
fn mix_and_validation(rules: &mut Rules<'_>, stage: &str, spec: &Training, settings: &Settings) {
    let key = format!("{stage}.mix");
    objectives(
        rules,
        spec.mix.iter().map(|one| (&*key, one.objective)),
        settings,
    );
    let shares: f64 = spec.mix.iter().map(|one| one.share).sum();
    if shares >= 1.0 {
        let main = match stage {
            "pretrain" => "`pretrain.objective`",
            _ => "the answers",
        };
        let message =
            format!("the shares of `{key}` add up to {shares}, which leaves {main} nothing");
        rules.broken(&[&key], message);
    }
    for one in &spec.mix {
        let (first, last) = (one.first_epoch, one.last_epoch.unwrap_or(spec.epochs));
        if spec.epochs > 0 && first > last.min(spec.epochs) {
            let name = one.objective.0.name();
            let message = format!(
                "`{key}`: {name:?} is mixed in from epoch {first} to {last} of {}: never",
                spec.epochs
            );
            let help = "lower `first_epoch`, raise `last_epoch`, or remove it";
            rules.helped(&[&key, &format!("{stage}.epochs")], message, help);
        }
    }
    if let Some(validate) = &spec.validate {
        validation(rules, stage, validate, settings);
    }
}

fn validation(rules: &mut Rules<'_>, stage: &str, spec: &ValidateSpec, settings: &Settings) {
    let table = format!("{stage}.validate");
    let [measure_key, stop_at] = ["measure", "stop_at"].map(|key| format!("{table}.{key}"));
    let offers = settings.data.offers();
    let data = settings.data.kind.name();
    let of_data = ["data.kind", "data.held_out", "data.questions"];
    let measure = settings.validated_by(spec);
    let name = measure.name();
    let (is_there, what, help) = if measure.is_of_answers() {
        let help = "add some by `data.questions`, or choose another measure";
        (offers.questions, "training questions", help)
    } else if data == "text" {
        let help = "hold some out by `data.held_out = 0.1`, or remove the table";
        (offers.held_out, "held-out documents", help)
    } else {
        let help = "choose a measure of answers, such as \"exact-match\", or remove the table";
        let is_there = offers.examples || offers.held_out;
        (is_there, "held-out documents or made examples", help)
    };
    if !is_there {
        let message = format!("`{table}` scores {what} by {name:?}, and {data:?} data has none");
        let keys = [&[&*table, &*measure_key][..], &of_data].concat();
        return rules.helped(&keys, message, help);
    }
    if measure.needs_text && offers.examples {
        let message = format!("`{measure_key}` = {name:?} needs text, but {data:?} data has none");
        rules.broken(&[&[&*measure_key][..], &of_data].concat(), message);
    }
    let range = measure.unit.range();
    if let Some(at) = spec.stop_at.filter(|at| !range.contains(at)) {
        let (low, high) = (range.start(), range.end());
        let allowed = match high.is_finite() {
            true => format!("between {low} and {high}"),
            false => format!("at least {low}"),
        };
        let message =
            format!("`{stop_at}` = {at} must be {allowed}, as every value of {name:?} is");
        rules.broken(&[&stop_at, &measure_key], message);
    }
}

fn training(rules: &mut Rules<'_>, stage: &str, spec: &Training, settings: &Settings) {
    let context = settings.model.context;
    mix_and_validation(rules, stage, spec, settings);
    let optimiser = &spec.optimiser;
    if !optimiser.kind.0.runs_on_cuda && settings.device != DeviceKind::Cpu {
        let key = format!("{stage}.optimiser.kind");
        let message = format!(
            "`{key}` = {:?} has no CUDA kernels",
            optimiser.kind.0.name()
        );
        let help = format!("set `device` = \"cpu\", or `{key}` = \"adamw\"");
        rules.helped(&[&key, "device"], message, help);
    }
    if spec.epoch_documents.is_some() && !spec.shuffle {
        let [key, shuffle] = ["epoch_documents", "shuffle"].map(|key| format!("{stage}.{key}"));
        let message = format!("`{key}` would select the same sequences in every epoch");
        let help = format!("set `{shuffle}` = true, or leave it out");
        rules.helped(&[&key, &shuffle], message, help);
    }
    let epochs = spec.epochs;
    let key = format!("{stage}.epochs");
    // For a single document; the check for all of them follows once the data is read.
    let most = Training::most_epochs(1, context);
    if epochs as u64 > most {
        let rule = format!("at most {most}: beyond that, tokens could not be counted exactly");
        rules.broken(
            &[&key, "model.context"],
            format!("`{key}` = {epochs} must be {rule}"),
        );
    }
}

fn schedule(rules: &mut Rules<'_>, stage: &str, spec: &ScheduleSpec) {
    let form = spec.form.0;
    if spec.decay.is_some() && !form.reads.contains(&"decay") {
        let [key, choice] = ["decay", "form"].map(|key| format!("{stage}.schedule.{key}"));
        let message = format!("`{key}` is not read by `{choice}` = {:?}", form.name());
        let reading = Form::all()
            .iter()
            .filter(|one| one.reads.contains(&"decay"));
        let reading = joined(reading.map(|one| format!("{:?}", one.name())), "or");
        let help = format!("set `{choice}` = {reading}, or remove the key");
        rules.helped(&[&key, &choice], message, help);
    }
    let Some(end) = spec.final_tokens else { return };
    let [last, first] =
        ["final_tokens", "warmup_tokens"].map(|key| format!("{stage}.schedule.{key}"));
    let warmup = spec.warmup_tokens;
    if end <= warmup {
        let message = format!("`{last}` = {end} must be above `{first}` = {warmup}");
        rules.broken(&[&last, &first], message);
    }
}

/// Reported numbers must be of measures that are computed, or no table and no figure would show them.
fn reported(rules: &mut Rules<'_>, reported: &Reported, measures: &[Named<Measure>]) {
    let all = Measure::all()
        .iter()
        .filter(|one| reported.of(one).is_some());
    let names: Vec<&str> = all.map(|one| one.name()).collect();
    if names.is_empty() {
        rules.helped(
            &["evaluate.reported"],
            "`evaluate.reported` has a source, but no number",
            "add the number, such as `accuracy`, `token-accuracy` or `loss`",
        );
    }
    let is_computed = |name: &&&str| measures.iter().any(|one| one.0.name() == **name);
    if let Some(name) = names.iter().find(|name| !is_computed(name)) {
        rules.helped(
            &["evaluate.reported", "evaluate.measures"],
            format!("`evaluate.reported` gives {name:?}, which this experiment does not measure"),
            format!("add {name:?} to `evaluate.measures`"),
        );
    }
}

fn evaluate(rules: &mut Rules<'_>, spec: &EvaluateSpec, trained: bool) {
    if !spec.ask_model && spec.constant_answer.is_none() {
        rules.helped(
            &["evaluate.ask_model", "evaluate.constant_answer"],
            "`evaluate.ask_model` = false leaves nothing to evaluate",
            "set `evaluate.constant_answer`",
        );
    }
    if spec.ask_model && !trained {
        rules.helped(
            &["evaluate.ask_model", "pretrain", "finetune"],
            "`evaluate` needs a trained model, but the file has neither `[pretrain]` nor `[finetune]`",
            "add a stage, or set `evaluate.ask_model` = false",
        );
    }
    let needing = spec.measures.iter().find(|one| one.0.needs_probability);
    if let Some(measure) = needing.filter(|_| !spec.ask_model) {
        let name = measure.0.name();
        rules.helped(
            &["evaluate.measures", "evaluate.ask_model"],
            format!("`evaluate.measures` lists {name:?}, which needs the probabilities of a model's answers"),
            "remove it, or set `evaluate.ask_model` = true",
        );
    }
    if spec.invented.is_some() && !spec.ask_model {
        no_model(rules, "evaluate.invented");
    }
    if let Some(maps) = &spec.attention_maps {
        attention_maps(rules, maps);
        if !spec.ask_model {
            no_model(rules, "evaluate.attention_maps");
        }
    }
}

/// The parts of the data that measures and other questions need.
fn measured(rules: &mut Rules<'_>, spec: &EvaluateSpec, settings: &Settings) {
    let offers = settings.data.offers();
    let (key, data) = ("evaluate.measures", settings.data.kind.name());
    let reads = [key, "data.kind", "data.questions", "data.held_out"];
    let measures = settings.measures();
    let of = |wanted: fn(&Measure) -> bool| -> Vec<String> {
        let wanted = measures.iter().filter(|one| wanted(one.0));
        wanted.map(|one| format!("{:?}", one.0.name())).collect()
    };
    for (names, is_there, needed, help) in [
        (
            of(Measure::is_of_answers),
            offers.questions,
            "answers to questions",
            "set `data.questions`",
        ),
        (
            of(|one| !one.is_of_answers()),
            offers.held_out || offers.examples,
            "held-out data",
            "set `data.held_out`",
        ),
        (
            of(|one| one.needs_text),
            !offers.examples,
            "text",
            "choose other data",
        ),
    ] {
        if !is_there && !names.is_empty() {
            let (need, them) = if names.len() == 1 {
                ("needs", "it")
            } else {
                ("need", "them")
            };
            let names = joined(names, "and");
            let message =
                format!("`{key}` lists {names}, which {need} {needed}, but {data:?} data has none");
            rules.helped(&reads, message, format!("{help}, or remove {them}"));
        }
    }
    let of_held_out = of(|one| !one.is_of_answers());
    if spec.split == Split::Validate && !of_held_out.is_empty() && !offers.examples {
        let names = joined(of_held_out.clone(), "and");
        let message = format!(
            "`{key}` lists {names}, but `evaluate.split` = \"validate\" has questions and no documents"
        );
        let help = "set `evaluate.split` to \"dev\" or \"test\", or list measures of answers";
        rules.helped(&[key, "evaluate.split"], message, help);
    }
    if !of_held_out.is_empty() && !spec.ask_model {
        let names = joined(of_held_out, "and");
        let message =
            format!("`{key}` lists {names}, but `evaluate.ask_model` = false scores no model");
        rules.helped(
            &[key, "evaluate.ask_model"],
            message,
            "set `evaluate.ask_model` = true",
        );
    }
    for (key, is_given) in [
        ("evaluate.constant_answer", spec.constant_answer.is_some()),
        ("evaluate.invented", spec.invented.is_some()),
        ("evaluate.attention_maps", spec.attention_maps.is_some()),
    ] {
        if is_given && !offers.questions {
            let message = format!("`{key}` is about questions, but {data:?} data has none");
            rules.helped(&[key, "data.kind", "data.questions"], message, "remove it");
        }
    }
    let (characters, context) = (spec.answer_characters, settings.model.context);
    if characters >= context && settings.asks_questions() {
        let key = "evaluate.answer_characters";
        let rule = format!("must be below `model.context` = {context}");
        let message = format!("`{key}` = {characters} {rule}");
        rules.broken(&[key, "model.context"], message);
    }
}

fn no_model(rules: &mut Rules<'_>, key: &str) {
    let help = "remove the table, or set `evaluate.ask_model` = true";
    rules.helped(
        &[key, "evaluate.ask_model"],
        format!("`{key}` needs a model to ask"),
        help,
    );
}

fn attention_maps(rules: &mut Rules<'_>, spec: &AttentionMapsSpec) {
    let (key, count) = ("evaluate.attention_maps", spec.count());
    if count == 0 {
        let example = "attention_maps = { questions = [\"Where was Ada born?\"], numbers = [1] }";
        rules.helped(
            &[key],
            format!("`{key}` names no question"),
            format!("such as `{example}`"),
        );
    }
    if count > MOST_MAPPED {
        let rule = format!("but at most {MOST_MAPPED} are allowed");
        rules.broken(&[key], format!("`{key}` names {count} questions, {rule}"));
    }
}
