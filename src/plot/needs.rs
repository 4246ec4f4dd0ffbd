//! What figures are drawn from: an experiment none of whose points makes it is refused before anything runs.

use crate::kinds::BrokenRule;

/// Something that a point makes, without which a figure has nothing to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Losses of pretraining.
    Pretraining,
    /// Validations during training.
    Validations,
    /// Documents that pretraining corrupts.
    Corruption,
    /// Losses of finetuning.
    Finetuning,
    /// Scores of a model or of the constant answer.
    Scores,
    /// Scores of a model.
    ModelScores,
    /// The same of two points.
    ModelPairs,
    /// A model's scores on held-out data.
    HeldOutScores,
    /// A model's answers to questions.
    Answers,
    /// A model's answers to questions that have reference answers.
    JudgedAnswers,
    /// The same of two points.
    JudgedPairs,
    /// Answers about invented people.
    InventedAnswers,
    /// Attention weights of questions.
    AttentionMaps,
    /// The curves of an exploration.
    Curves,
    /// The samples of an exploration.
    Samples,
}

impl Need {
    /// The rule that a figure of this kind, which needs it, has broken.
    pub(super) fn missing(self, kind: &str) -> BrokenRule {
        let (why, help) = match self {
            Self::Pretraining => ("no point pretrains", "add `[pretrain]`"),
            Self::Validations => (
                "no point is validated during training",
                "add `validate = {}` to `[pretrain]` or `[finetune]`",
            ),
            Self::Corruption => (
                "no point pretrains by corrupting documents",
                "set `pretrain.objective` = \"span-corruption\"",
            ),
            Self::Finetuning => ("no point finetunes", "add `[finetune]`"),
            Self::Scores => (
                "no point is evaluated on a split with reference answers",
                "set `evaluate.split` = \"dev\"",
            ),
            Self::ModelScores => (
                "no point scores a model on a split with reference answers",
                "set `evaluate.ask_model` = true and `evaluate.split` = \"dev\"",
            ),
            Self::ModelPairs => (
                "it compares points, but fewer than two score a model on a split with reference answers",
                "add a `[sweep]` of points that do",
            ),
            Self::HeldOutScores => (
                "no point scores a model on held-out data",
                "list \"token-accuracy\" or \"loss\" in `evaluate.measures`",
            ),
            Self::Answers => (
                "no point asks a model questions",
                "set `evaluate.ask_model` = true and list a measure of answers",
            ),
            Self::JudgedAnswers => (
                "no point asks a model about a split with reference answers",
                "set `evaluate.ask_model` = true and `evaluate.split` = \"dev\"",
            ),
            Self::JudgedPairs => (
                "it compares two points, but fewer than two ask a model about a split with reference answers",
                "add a `[sweep]` of points that do",
            ),
            Self::InventedAnswers => (
                "no point asks about invented people",
                "add `invented = { names = 100 }` to `[evaluate]`",
            ),
            Self::AttentionMaps => (
                "no point records attention weights",
                "add `attention_maps = { numbers = [1] }` to `[evaluate]`",
            ),
            Self::Curves => (
                "`explore.question` measures no curves",
                "set `kind` = \"exploration-distribution\"",
            ),
            Self::Samples => (
                "`explore.question` draws no samples",
                "set `kind` = \"exploration-curves\"",
            ),
        };
        BrokenRule {
            key: "kind",
            reads: &[],
            message: format!("= {kind:?} has nothing to show: {why}"),
            help: Some(format!("{help}, or remove the figure")),
        }
    }
}
