//! Rules about one point's settings.

use std::ops::RangeInclusive;

use super::Rules;
use crate::config::layers::Fault;
use crate::config::schema::{
    AttentionMapsSpec, DataKind, DataSpec, DeviceKind, EXCERPT_MARGIN, EvaluateSpec, MOST_MAPPED,
    ModelSpec, OptimiserSpec, PretrainSpec, ScheduleSpec, Settings, Training,
};

/// The shortest context: a question, two masks and an answer need that much.
const LEAST_CONTEXT: usize = 8;

/// Everything that is wrong with one point's values. `mended` are the keys not to look at.
pub fn check(settings: &Settings, mended: &[String]) -> Vec<Fault> {
    let mut rules = Rules::new(mended);
    data(&mut rules, &settings.data);
    model(&mut rules, &settings.model);
    let context = settings.model.context;
    if let Some(stage) = &settings.pretrain {
        pretrain(&mut rules, stage, context);
        training(&mut rules, "pretrain", &stage.training(), context);
        optimiser(&mut rules, "pretrain", &stage.optimiser);
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
        optimiser(&mut rules, "finetune", &stage.optimiser);
        schedule(&mut rules, "finetune", &stage.schedule);
    }
    if let Some(stage) = &settings.evaluate {
        let trained = settings.pretrain.is_some() || settings.finetune.is_some();
        evaluate(&mut rules, stage, context, trained);
    }
    let rounded = settings.device == DeviceKind::Cpu && !settings.precision.is_whole();
    rules.helped(rounded, &["precision", "device"], || {
        let message = "`precision` is for CUDA: the processor multiplies in \"f32\" alone";
        let help = "set `device` to \"cuda\" or \"auto\", or leave `precision` out";
        (message.to_owned(), help.to_owned())
    });
    rules.faults
}

fn data(rules: &mut Rules<'_>, spec: &DataSpec) {
    let counts: [(&str, Option<usize>, RangeInclusive<usize>); 3] = [
        ("data.people", spec.people, 8..=1500),
        ("data.places", spec.places, 2..=40),
        (
            "data.biographies_per_person",
            spec.biographies_per_person,
            1..=8,
        ),
    ];
    let synthetic = spec.kind == DataKind::Synthetic;
    for (key, value, range) in counts {
        let Some(value) = value else { continue };
        synthetic_only(rules, key, synthetic);
        let (first, last) = (range.start(), range.end());
        rules.rule(
            synthetic && !range.contains(&value),
            &[key, "data.kind"],
            || format!("`{key}` = {value} must be between {first} and {last}"),
        );
    }
    if let Some(seed) = spec.seed {
        synthetic_only(rules, "data.seed", synthetic);
        super::header::seed(rules, "data.seed", seed);
    }
}

fn synthetic_only(rules: &mut Rules<'_>, key: &str, synthetic: bool) {
    rules.helped(!synthetic, &[key, "data.kind"], || {
        let message = format!("`{key}` is for `data.kind` = \"synthetic\" only");
        (message, "remove the key, or change the kind".into())
    });
}

fn model(rules: &mut Rules<'_>, spec: &ModelSpec) {
    let counts = [
        ("model.layers", spec.layers, 1),
        ("model.embed", spec.embed, 1),
        ("model.heads", spec.heads, 1),
        ("model.head_dim", spec.head_dim, 1),
        ("model.hidden", spec.hidden, 1),
        ("model.vocabulary", spec.vocabulary, 1),
        ("model.context", spec.context, LEAST_CONTEXT),
    ];
    for (key, value, least) in counts {
        rules.at_least(key, value, least);
    }
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
    rules.fraction("model.dropout", spec.dropout, false);
    rules.fraction("model.initial_deviation", spec.initial_deviation, true);
}

fn attention(rules: &mut Rules<'_>, spec: &ModelSpec) {
    let kind = spec.attention.kind.0;
    for (name, number) in spec.attention.own_numbers() {
        let key = format!("model.attention.{name}");
        match (number, kind.own_key == Some(name)) {
            (Some(number), true) => rules.at_least(&key, number, 1),
            (Some(_), false) => rules.helped(true, &[&key, "model.attention.kind"], || {
                let message = format!(
                    "`{key}` is not for `model.attention.kind` = {:?}",
                    kind.name
                );
                (message, "remove the key, or change the kind".to_owned())
            }),
            (None, true) => rules.helped(true, &[&key, "model.attention.kind"], || {
                let message = format!("`model.attention.kind` = {:?} needs `{name}`", kind.name);
                let example = format!("attention = {{ kind = {:?}, {name} = 4 }}", kind.name);
                (message, format!("such as `{example}`"))
            }),
            (None, false) => {}
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
    rules.rule(context >= LEAST_CONTEXT && !(4..=most).contains(&longest), &keys, || {
        let rule = format!("must be between 4 and {most}");
        format!("`pretrain.longest_excerpt` = {longest} {rule}, which is `model.context` - {EXCERPT_MARGIN}")
    });
}

fn training(rules: &mut Rules<'_>, stage: &str, spec: &Training<'_>, context: usize) {
    let (key, epochs) = (format!("{stage}.epochs"), spec.epochs);
    // For a single document; the check for all of them follows once the data is read.
    let most = Training::most_epochs(1, context);
    rules.rule(epochs as u64 > most, &[&key, "model.context"], || {
        format!("`{key}` = {epochs} must be at most {most}: more tokens cannot be counted exactly")
    });
    rules.at_least(&format!("{stage}.batch_documents"), spec.batch_documents, 1);
    rules.positive(&format!("{stage}.learning_rate"), spec.learning_rate);
    if let Some(steps) = spec.checkpoint_steps {
        rules.at_least(&format!("{stage}.checkpoint_steps"), steps, 1);
    }
}

fn optimiser(rules: &mut Rules<'_>, stage: &str, spec: &OptimiserSpec) {
    for (i, beta) in spec.betas.into_iter().enumerate() {
        rules.fraction(&format!("{stage}.optimiser.betas.{i}"), beta, false);
    }
    rules.positive(&format!("{stage}.optimiser.epsilon"), spec.epsilon);
    rules.not_negative(
        &format!("{stage}.optimiser.weight_decay"),
        spec.weight_decay,
    );
    rules.not_negative(&format!("{stage}.optimiser.clip_norm"), spec.clip_norm);
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
        let message = "`evaluate` asks a model that neither `[pretrain]` nor `[finetune]` makes";
        (
            message.into(),
            "add a stage, or set `evaluate.ask_model` = false".into(),
        )
    });
    let characters = spec.answer_characters;
    let keys = ["evaluate.answer_characters", "model.context"];
    rules.rule(
        context >= LEAST_CONTEXT && !(1..context).contains(&characters),
        &keys,
        || {
            let rule = format!("must be at least 1 and below `model.context` = {context}");
            format!("`evaluate.answer_characters` = {characters} {rule}")
        },
    );
    if let Some(invented) = &spec.invented {
        let (key, names) = ("evaluate.invented.names", invented.names);
        rules.rule(!(1..=5000).contains(&names), &[key], || {
            format!("`{key}` = {names} must be between 1 and 5000")
        });
        super::header::seed(rules, "evaluate.invented.seed", invented.seed);
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
        rules.fraction("evaluate.reported.accuracy", reported.accuracy, true);
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
        format!("`{key}` names {count} questions, {MOST_MAPPED} are the most")
    });
    for (i, question) in spec.questions.iter().enumerate() {
        let key = format!("{key}.questions.{i}");
        rules.rule(question.trim().is_empty(), &[&key], || {
            format!("`{key}` is empty")
        });
    }
    for (i, number) in spec.numbers.iter().enumerate() {
        rules.at_least(&format!("{key}.numbers.{i}"), *number, 1);
    }
    rules.helped(!ask_model, &[key, "evaluate.ask_model"], || {
        let message = format!("`{key}` needs a model to ask");
        let help = "remove the table, or set `evaluate.ask_model` = true";
        (message, help.to_owned())
    });
}
