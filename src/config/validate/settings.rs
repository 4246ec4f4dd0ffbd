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
        training(&mut rules, "pretrain", &stage.training(), context);
        schedule(&mut rules, "pretrain", &stage.schedule);
    }
    if let Some(stage) = &settings.finetune {
        training(&mut rules, "finetune", &stage.training(), context);
        let pretrains = settings.pretrain.as_ref().is_some_and(|p| p.epochs > 0);
        let (key, thrown_away) = ("finetune.init", stage.init.is_some() && pretrains);
        rules.helped(thrown_away, &[key, "pretrain.epochs"], || {
            let message = format!("`{key}` replaces the weights that `[pretrain]` makes");
            (
                message,
                "set `pretrain.epochs = 0`, or leave `init` out".to_owned(),
            )
        });
        schedule(&mut rules, "finetune", &stage.schedule);
    }
    if let Some(stage) = &settings.evaluate {
        let trained = settings.pretrain.is_some() || settings.finetune.is_some();
        evaluate(&mut rules, stage, context, trained);
    }
    let rounded = settings.device == DeviceKind::Cpu && !settings.precision.is_whole();
    rules.helped(rounded, &["precision", "device"], || {
        let message = "`precision` applies to CUDA only: the CPU always computes in \"f32\"";
        let help = "set `device` to \"cuda\" or \"auto\", or leave `precision` out";
        (message.to_owned(), help.to_owned())
    });
    ranges::check(&mut rules, settings);
    rules.faults
}

fn model(rules: &mut Rules<'_>, spec: &ModelSpec) {
    let (heads, head_dim, embed) = (spec.heads, spec.head_dim, spec.embed);
    let wrong = heads.checked_mul(head_dim) != Some(embed);
    let counted = heads > 0 && head_dim > 0 && embed > 0;
    let keys = ["model.heads", "model.head_dim", "model.embed"];
    rules.helped(wrong && counted, &keys, || {
        let rule = "must multiply to";
        let message = format!("`model.heads` = {heads} and `model.head_dim` = {head_dim} {rule} `model.embed` = {embed}");
        (message, format!("`model.heads` can be {}, with `model.head_dim` = {embed} / heads", divisors(embed)))
    });
    attention(rules, spec);
}

fn attention(rules: &mut Rules<'_>, spec: &ModelSpec) {
    let kind = spec.attention.kind.0;
    for (name, number) in spec.attention.own_numbers() {
        let key = format!("model.attention.{name}");
        match (number, kind.own_key == Some(name)) {
            (Some(_), false) => rules.helped(true, &[&key, "model.attention.kind"], || {
                let message = format!(
                    "`{key}` does not apply to `model.attention.kind` = {:?}",
                    kind.name
                );
                (message, "remove the key, or change the kind".to_owned())
            }),
            (None, true) => rules.helped(true, &[&key, "model.attention.kind"], || {
                let message = format!("`model.attention.kind` = {:?} needs `{name}`", kind.name);
                let example = format!("attention = {{ kind = {:?}, {name} = 4 }}", kind.name);
                (message, format!("such as `{example}`"))
            }),
            _ => {}
        }
    }
    let shape = spec.shape();
    let given = kind.own_key.is_none() || shape.own > 0;
    let refused = (kind.refuses)(&shape).filter(|_| given && spec.heads > 0);
    let refused = refused.as_deref();
    rules.rule(refused.is_some(), &["model.attention.kind"], || {
        format!(
            "`model.attention.kind` = {:?} {}",
            kind.name,
            refused.unwrap_or_default()
        )
    });
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
    let keys = ["pretrain.longest_excerpt", "model.context"];
    rules.rule(context >= LEAST_CONTEXT && longest > most, &keys, || {
        let rule = format!("must be at most {most}");
        format!("`pretrain.longest_excerpt` = {longest} {rule}, which is `model.context` - {EXCERPT_MARGIN}")
    });
}

fn training(rules: &mut Rules<'_>, stage: &str, spec: &Training<'_>, context: usize) {
    let (key, epochs) = (format!("{stage}.epochs"), spec.epochs);
    // For a single document; the check for all of them follows once the data is read.
    let most = Training::most_epochs(1, context);
    rules.rule(epochs as u64 > most, &[&key, "model.context"], || {
        format!("`{key}` = {epochs} must be at most {most}: beyond that, tokens could not be counted exactly")
    });
}

fn schedule(rules: &mut Rules<'_>, stage: &str, spec: &ScheduleSpec) {
    let Some(end) = spec.final_tokens else { return };
    let (last, first) = (
        format!("{stage}.schedule.final_tokens"),
        format!("{stage}.schedule.warmup_tokens"),
    );
    let warmup = spec.warmup_tokens;
    rules.rule(end <= warmup, &[&last, &first], || {
        format!("`{last}` = {end} must be above `{first}` = {warmup}")
    });
}

fn evaluate(rules: &mut Rules<'_>, spec: &EvaluateSpec, context: usize, trained: bool) {
    let answer = spec.constant_answer.as_deref();
    rules.rule(
        answer.is_some_and(|answer| answer.trim().is_empty()),
        &["evaluate.constant_answer"],
        || "`evaluate.constant_answer` is empty".into(),
    );
    let keys = ["evaluate.ask_model", "evaluate.constant_answer"];
    rules.helped(!spec.ask_model && answer.is_none(), &keys, || {
        let message = "`evaluate.ask_model` = false leaves nothing to evaluate";
        (message.into(), "set `evaluate.constant_answer`".into())
    });
    let keys = ["evaluate.ask_model", "pretrain", "finetune"];
    rules.helped(spec.ask_model && !trained, &keys, || {
        let message = "`evaluate` needs a trained model, but the file has neither `[pretrain]` nor `[finetune]`";
        (
            message.into(),
            "add a stage, or set `evaluate.ask_model` = false".into(),
        )
    });
    let names: Vec<&str> = spec.measures.iter().map(|one| one.0.name()).collect();
    rules.helped(names.is_empty(), &["evaluate.measures"], || {
        let message = "`evaluate.measures` is empty: answers would be written, but no table";
        (message.into(), "write [\"exact-match\"]".into())
    });
    let twice = (1..names.len()).find(|&i| names[..i].contains(&names[i]));
    rules.rule(twice.is_some(), &["evaluate.measures"], || {
        let name = twice.map_or("", |i| names[i]);
        format!("`evaluate.measures` lists {name:?} twice")
    });
    let characters = spec.answer_characters;
    let keys = ["evaluate.answer_characters", "model.context"];
    rules.rule(
        context >= LEAST_CONTEXT && characters >= context,
        &keys,
        || {
            let rule = format!("must be below `model.context` = {context}");
            format!("`evaluate.answer_characters` = {characters} {rule}")
        },
    );
    if spec.invented.is_some() {
        let keys = ["evaluate.invented", "evaluate.ask_model"];
        rules.helped(!spec.ask_model, &keys, || {
            let message = "`evaluate.invented` needs a model to ask";
            let help = "remove the table, or set `evaluate.ask_model` = true";
            (message.into(), help.into())
        });
    }
    if let Some(maps) = &spec.attention_maps {
        attention_maps(rules, maps, spec.ask_model);
    }
    if let Some(reported) = &spec.reported {
        rules.rule(
            reported.source.trim().is_empty(),
            &["evaluate.reported.source"],
            || "`evaluate.reported.source` is empty".into(),
        );
    }
}

fn attention_maps(rules: &mut Rules<'_>, spec: &AttentionMapsSpec, ask_model: bool) {
    let (key, count) = ("evaluate.attention_maps", spec.count());
    rules.helped(count == 0, &[key], || {
        let message = format!("`{key}` names no question");
        let example = "attention_maps = { questions = [\"Where was Ada born?\"], numbers = [1] }";
        (message, format!("such as `{example}`"))
    });
    rules.rule(count > MOST_MAPPED, &[key], || {
        format!("`{key}` names {count} questions, but at most {MOST_MAPPED} are allowed")
    });
    for (i, question) in spec.questions.iter().enumerate() {
        let key = format!("{key}.questions.{i}");
        rules.rule(question.trim().is_empty(), &[&key], || {
            format!("`{key}` is empty")
        });
    }
    rules.helped(!ask_model, &[key, "evaluate.ask_model"], || {
        let message = format!("`{key}` needs a model to ask");
        let help = "remove the table, or set `evaluate.ask_model` = true";
        (message, help.to_owned())
    });
}
