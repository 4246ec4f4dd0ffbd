//! Rules about one point's settings.

use super::{Rules, ranges};
use crate::config::kinded;
use crate::config::layers::Fault;
use crate::config::schema::{
    AttentionMapsSpec, DeviceKind, EXCERPT_MARGIN, EvaluateSpec, LEAST_CONTEXT, ModelSpec,
    PretrainSpec, ScheduleSpec, Settings, Training,
};
use crate::kinds::Listed as _;
use crate::metrics::rows::MOST_MAPPED;

/// Everything that is wrong with one point's values. `skipped` are the keys not to look at.
pub fn check(settings: &Settings, skipped: &[String]) -> Vec<Fault> {
    let mut rules = Rules::new(skipped);
    rules.faults = kinded::faults(&["data"], &settings.data, skipped);
    model(&mut rules, &settings.model);
    let context = settings.model.context;
    if let Some(stage) = &settings.pretrain {
        pretrain(&mut rules, stage, context);
        training(&mut rules, "pretrain", stage.epochs, context);
        schedule(&mut rules, "pretrain", &stage.schedule);
    }
    if let Some(stage) = &settings.finetune {
        training(&mut rules, "finetune", stage.epochs, context);
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
        evaluate(&mut rules, stage, context, trained);
    }
    if settings.device == DeviceKind::Cpu && !settings.precision.is_whole() {
        rules.helped(
            &["precision", "device"],
            "`precision` applies to CUDA only: the CPU always computes in \"f32\"",
            "set `device` to \"cuda\" or \"auto\", or leave `precision` out",
        );
    }
    ranges::check(&mut rules, settings);
    rules.faults
}

fn model(rules: &mut Rules<'_>, spec: &ModelSpec) {
    let (heads, head_dim, embed) = (spec.heads, spec.head_dim, spec.embed);
    let wrong = heads.checked_mul(head_dim) != Some(embed);
    if wrong && heads > 0 && head_dim > 0 && embed > 0 {
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
    let kind = spec.attention.kind.0;
    let chosen = format!("`model.attention.kind` = {:?}", kind.name);
    for (name, number) in spec.attention.parameters() {
        let key = format!("model.attention.{name}");
        let keys = [&key[..], "model.attention.kind"];
        match (number, kind.parameter_key == Some(name)) {
            (Some(_), false) => {
                let message = format!("`{key}` does not apply to {chosen}");
                rules.helped(&keys, message, "remove the key, or change the kind");
            }
            (None, true) => {
                let example = format!("attention = {{ kind = {:?}, {name} = 4 }}", kind.name);
                let help = format!("such as `{example}`");
                rules.helped(&keys, format!("{chosen} needs `{name}`"), help);
            }
            _ => {}
        }
    }
    let shape = spec.shape();
    let given = kind.parameter_key.is_none() || shape.kind_parameter > 0;
    if let Some(why) = (kind.refuses)(&shape).filter(|_| given && spec.heads > 0) {
        rules.broken(&["model.attention.kind"], format!("{chosen} {why}"));
    }
}

/// The divisors that make sense as a number of heads: up to 16 of them, none above 1024.
fn divisors(embed: usize) -> String {
    let fitting = (1..=embed.min(1024)).filter(|n| embed.is_multiple_of(*n));
    let fitting: Vec<String> = fitting.take(16).map(|n| n.to_string()).collect();
    fitting.join(", ")
}

fn pretrain(rules: &mut Rules<'_>, spec: &PretrainSpec, context: usize) {
    let Some(longest) = spec.longest_excerpt else {
        return;
    };
    let most = context.saturating_sub(EXCERPT_MARGIN);
    if context >= LEAST_CONTEXT && longest > most {
        let key = "pretrain.longest_excerpt";
        let rule = format!("at most {most}, which is `model.context` - {EXCERPT_MARGIN}");
        rules.broken(
            &[key, "model.context"],
            format!("`{key}` = {longest} must be {rule}"),
        );
    }
}

fn training(rules: &mut Rules<'_>, stage: &str, epochs: usize, context: usize) {
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
    let Some(end) = spec.final_tokens else { return };
    let [last, first] =
        ["final_tokens", "warmup_tokens"].map(|key| format!("{stage}.schedule.{key}"));
    let warmup = spec.warmup_tokens;
    if end <= warmup {
        let message = format!("`{last}` = {end} must be above `{first}` = {warmup}");
        rules.broken(&[&last, &first], message);
    }
}

fn evaluate(rules: &mut Rules<'_>, spec: &EvaluateSpec, context: usize, trained: bool) {
    let answer = spec.constant_answer.as_deref();
    if answer.is_some_and(|answer| answer.trim().is_empty()) {
        let key = "evaluate.constant_answer";
        rules.broken(&[key], format!("`{key}` is empty"));
    }
    if !spec.ask_model && answer.is_none() {
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
    let names: Vec<&str> = spec.measures.iter().map(|one| one.0.name()).collect();
    let key = "evaluate.measures";
    if names.is_empty() {
        rules.helped(
            &[key],
            format!("`{key}` is empty: answers would be written, but no table"),
            "write [\"exact-match\"]",
        );
    }
    if let Some(twice) = (1..names.len()).find(|&i| names[..i].contains(&names[i])) {
        rules.broken(&[key], format!("`{key}` lists {:?} twice", names[twice]));
    }
    let needing = spec.measures.iter().find(|one| one.0.needs_probability);
    if let Some(measure) = needing.filter(|_| !spec.ask_model) {
        let name = measure.0.name();
        rules.helped(
            &[key, "evaluate.ask_model"],
            format!("`{key}` lists {name:?}, which needs the probabilities of a model's answers"),
            "remove it, or set `evaluate.ask_model` = true",
        );
    }
    let characters = spec.answer_characters;
    if context >= LEAST_CONTEXT && characters >= context {
        let key = "evaluate.answer_characters";
        let rule = format!("must be below `model.context` = {context}");
        rules.broken(
            &[key, "model.context"],
            format!("`{key}` = {characters} {rule}"),
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
    if spec
        .reported
        .as_ref()
        .is_some_and(|one| one.source.trim().is_empty())
    {
        let key = "evaluate.reported.source";
        rules.broken(&[key], format!("`{key}` is empty"));
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
    for (i, question) in spec.questions.iter().enumerate() {
        let key = format!("{key}.questions.{i}");
        if question.trim().is_empty() {
            rules.broken(&[&key], format!("`{key}` is empty"));
        }
    }
}
