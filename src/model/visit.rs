//! What is done with all weights of a model, each a function.

use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{Gradients, Tensor};

use super::ParameterGroup;
use super::weights::Weight;
use crate::kinds::Named;
use crate::ops::LabDevice;
use crate::ops::optimiser::{Moments, Update};
use crate::ops::parameters::{Visitor, VisitorMut, Weights, values};

/// All weights with their names, copied to the host.
pub(super) fn read<D: LabDevice<f32>>(model: &impl Weights<f32, D>) -> Vec<Weight> {
    named(model, values(model))
}

/// Names and shapes of a model's weights.
pub(super) fn layout<D: LabDevice<f32>>(model: &impl Weights<f32, D>) -> Vec<(String, Vec<usize>)> {
    let mut layout = Layout(vec![]);
    let listed = model.each("", &mut layout);
    listed.expect("listing shapes cannot fail");
    layout.0
}

/// Number of parameters.
pub(super) fn parameter_count<D: LabDevice<f32>>(model: &impl Weights<f32, D>) -> usize {
    let sizes = layout(model).into_iter();
    sizes
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum()
}

/// The optimiser's moments before the first step, in the order of [`read`].
pub(super) fn moments<D: LabDevice<f32>>(
    device: &D,
    model: &impl Weights<f32, D>,
) -> Result<Vec<Moments<f32, D>>, D::Err> {
    let of = |(_, shape): (String, Vec<usize>)| {
        let zeros = || device.try_zeros_like(&(shape.iter().product::<usize>(),));
        Ok([zeros()?, zeros()?])
    };
    layout(model).into_iter().map(of).collect()
}

/// The first (0) or second (1) moments of all weights, under the weights' names.
pub(super) fn read_moments<D: LabDevice<f32>>(
    model: &impl Weights<f32, D>,
    moments: &[Moments<f32, D>],
    which: usize,
) -> Vec<Weight> {
    let values = moments.iter().map(|moments| moments[which].as_vec());
    named(model, values)
}

/// A list of numbers for each weight, under the weight's name.
fn named<D: LabDevice<f32>>(
    model: &impl Weights<f32, D>,
    values: impl IntoIterator<Item = Vec<f32>>,
) -> Vec<Weight> {
    let weights = layout(model).into_iter().zip(values);
    let weights = weights.map(|((name, shape), values)| Weight {
        name,
        shape,
        values,
    });
    weights.collect()
}

/// Allocates the gradients of all weights: zeros.
pub(super) fn allocate<D: LabDevice<f32>>(
    model: &impl Weights<f32, D>,
    gradients: &mut Gradients<f32, D>,
) -> Result<(), D::Err> {
    model.each("", &mut Allocate(gradients))
}

/// The gradients of all weights, without any others.
pub(super) fn of_weights<D: LabDevice<f32>>(
    model: &impl Weights<f32, D>,
    mut gradients: Gradients<f32, D>,
) -> Result<Gradients<f32, D>, D::Err> {
    let mut kept = Gradients::leaky();
    let (from, to) = (&mut gradients, &mut kept);
    model.each("", &mut Keep { from, to })?;
    Ok(kept)
}

/// The first pass of an optimiser step: accumulates the gradient norm.
pub(super) fn measure<D: LabDevice<f32>>(
    model: &impl Weights<f32, D>,
    gradients: &mut Gradients<f32, D>,
    step: &mut D::Step,
) -> Result<(), D::Err> {
    model.each("", &mut Measure { gradients, step })
}

/// The second pass: one update of every tensor, by the first of the `groups` that it belongs to; other biases do not decay.
pub(super) fn update<D: LabDevice<f32>>(
    model: &mut impl Weights<f32, D>,
    moments: &mut [Moments<f32, D>],
    gradients: &mut Gradients<f32, D>,
    step: &mut D::Step,
    (update, groups): (Update, &[ParameterGroup]),
) -> Result<(), D::Err> {
    let mut updater = Updater {
        moments: moments.iter_mut(),
        gradients,
        step,
        update,
        groups,
    };
    model.each_mut("", &mut updater)
}

/// Copies of all weights, in the order of [`read`].
pub(super) fn copies<D: LabDevice<f32>>(
    device: &D,
    model: &impl Weights<f32, D>,
) -> Result<Vec<Average<D>>, D::Err> {
    let copy = |values: Vec<f32>| {
        let count = values.len();
        device.try_tensor_from_vec(values, (count,))
    };
    values(model).into_iter().map(copy).collect()
}

/// The moving average of a weight, in the order of its elements.
pub(super) type Average<D> = Tensor<(usize,), f32, D>;

/// Moves the averages of all weights towards the weights.
pub(super) fn average<D: LabDevice<f32>>(
    model: &impl Weights<f32, D>,
    averages: &mut [Average<D>],
    decay: f64,
) -> Result<(), D::Err> {
    let averages = averages.iter_mut();
    model.each("", &mut Averager { averages, decay })
}

/// The averages of all weights, under the weights' names.
pub(super) fn read_averages<D: LabDevice<f32>>(
    model: &impl Weights<f32, D>,
    averages: &[Average<D>],
) -> Vec<Weight> {
    named(model, averages.iter().map(|average| average.as_vec()))
}

/// All gradients with the names of their weights, copied to the host.
#[cfg(test)]
pub(super) fn gradients<D: LabDevice<f32>>(
    model: &impl Weights<f32, D>,
    gradients: &mut Gradients<f32, D>,
) -> Vec<(String, Vec<f32>)> {
    let all = vec![];
    let mut reader = ReadGradients { gradients, all };
    model.each("", &mut reader).expect("memory");
    reader.all
}

/// Whether weight decay applies to the parameter of that name: all but the biases, as in the
/// reference.
pub(super) fn decays(name: &str) -> bool {
    !name.ends_with("bias")
}

/// Whether the parameter of that name is one of the weights of the linear layers of blocks. Tables of biases and the matrices
/// that mix heads are no maps of the stream.
fn is_hidden_matrix(name: &str, dimensions: usize) -> bool {
    let layers = [
        "attn.key",
        "attn.query",
        "attn.value",
        "attn.proj",
        "attn.g_proj",
        "attn.w1",
        "mlp.",
    ];
    let is_of_layer = |layer: &&str| name.contains(*layer);
    dimensions == 2 && name.ends_with(".weight") && layers.iter().any(is_of_layer)
}

#[cfg(test)]
struct ReadGradients<'a, D: LabDevice<f32>> {
    gradients: &'a mut Gradients<f32, D>,
    all: Vec<(String, Vec<f32>)>,
}

#[cfg(test)]
impl<D: LabDevice<f32>> Visitor<f32, D> for ReadGradients<'_, D> {
    fn visit<S: Shape>(&mut self, name: &str, weight: &Tensor<S, f32, D>) -> Result<(), D::Err> {
        self.gradients.try_alloc_for(weight)?;
        let gradient = self.gradients.get(weight).as_vec();
        self.all.push((name.to_owned(), gradient));
        Ok(())
    }
}

struct Layout(Vec<(String, Vec<usize>)>);

impl<D: LabDevice<f32>> Visitor<f32, D> for Layout {
    fn visit<S: Shape>(&mut self, name: &str, weight: &Tensor<S, f32, D>) -> Result<(), D::Err> {
        let sizes = weight.shape().concrete().into_iter();
        self.0.push((name.to_owned(), sizes.collect()));
        Ok(())
    }
}

struct Keep<'a, D: LabDevice<f32>> {
    from: &'a mut Gradients<f32, D>,
    to: &'a mut Gradients<f32, D>,
}

impl<D: LabDevice<f32>> Visitor<f32, D> for Keep<'_, D> {
    fn visit<S: Shape>(&mut self, _: &str, weight: &Tensor<S, f32, D>) -> Result<(), D::Err> {
        let from = self.from.get_or_alloc_mut(weight)?;
        std::mem::swap(from, self.to.get_or_alloc_mut(weight)?);
        Ok(())
    }
}

struct Allocate<'a, D: LabDevice<f32>>(&'a mut Gradients<f32, D>);

impl<D: LabDevice<f32>> Visitor<f32, D> for Allocate<'_, D> {
    fn visit<S: Shape>(&mut self, _: &str, weight: &Tensor<S, f32, D>) -> Result<(), D::Err> {
        self.0.try_alloc_for(weight)
    }
}

struct Measure<'a, D: LabDevice<f32>> {
    gradients: &'a mut Gradients<f32, D>,
    step: &'a mut D::Step,
}

impl<D: LabDevice<f32>> Visitor<f32, D> for Measure<'_, D> {
    fn visit<S: Shape>(&mut self, _: &str, weight: &Tensor<S, f32, D>) -> Result<(), D::Err> {
        D::try_accumulate_norm(self.step, weight, self.gradients)
    }
}

struct Updater<'a, D: LabDevice<f32>> {
    moments: std::slice::IterMut<'a, Moments<f32, D>>,
    gradients: &'a mut Gradients<f32, D>,
    step: &'a mut D::Step,
    update: Update,
    groups: &'a [ParameterGroup],
}

struct Averager<'a, D: LabDevice<f32>> {
    averages: std::slice::IterMut<'a, Average<D>>,
    decay: f64,
}

impl<D: LabDevice<f32>> Visitor<f32, D> for Averager<'_, D> {
    fn visit<S: Shape>(&mut self, _: &str, weight: &Tensor<S, f32, D>) -> Result<(), D::Err> {
        let average = self.averages.next().expect("an average per tensor");
        D::try_average(average, weight, self.decay)
    }
}

impl<D: LabDevice<f32>> VisitorMut<f32, D> for Updater<'_, D> {
    fn visit<S: Shape>(
        &mut self,
        name: &str,
        weight: &mut Tensor<S, f32, D>,
    ) -> Result<(), D::Err> {
        let mut update = self.update;
        if !decays(name) {
            update.weight_decay = 0.0;
        }
        if update.optimiser.0.only_hidden && !is_hidden_matrix(name, S::NUM_DIMS) {
            update.optimiser = Named::default();
        }
        if let Some(group) = self.groups.iter().find(|one| one.parameters.matches(name)) {
            update.learning_rate = group.learning_rate;
            update.weight_decay = group.weight_decay.unwrap_or(update.weight_decay);
        }
        let moments = self.moments.next().expect("two moments per tensor");
        D::try_update(self.step, weight, self.gradients, moments, update)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfdx::tensor::Cpu;

    use crate::config::schema::{AttentionSpec, ModelSpec};
    use crate::model::network::Network;

    /// Names and shapes of the weights of a model of width 4.
    fn weights_of<M: Network<Cpu>>(
        layers: usize,
        attention: AttentionSpec,
    ) -> Vec<(String, Vec<usize>)> {
        let spec = ModelSpec::small(layers, attention);
        layout(&M::zeros(&Cpu::default(), &spec).expect("memory"))
    }

    #[test]
    fn names_are_the_reference_s_and_only_biases_do_not_decay() {
        type Tiny = crate::model::gpt::Gpt<4, 8, 6, 5, f32, Cpu>;
        let layout = weights_of::<Tiny>(1, AttentionSpec::of("vanilla"));
        let names: Vec<&str> = layout.iter().map(|(name, _)| name.as_str()).collect();
        let kept: Vec<&str> = names.iter().copied().filter(|name| !decays(name)).collect();
        let layers = [
            "attn.key",
            "attn.query",
            "attn.value",
            "attn.proj",
            "mlp.0",
            "mlp.2",
        ];
        let mut biases: Vec<String> = layers
            .iter()
            .map(|l| format!("blocks.0.{l}.bias"))
            .collect();
        biases.extend(["blocks.0.ln1.bias", "blocks.0.ln2.bias", "ln_f.bias"].map(str::to_owned));
        let sorted = |names: &[&str]| {
            let mut names = names.to_vec();
            names.sort_unstable();
            names.join(" ")
        };
        let biases: Vec<&str> = biases.iter().map(String::as_str).collect();
        assert_eq!(sorted(&kept), sorted(&biases));
        let weights = biases.iter().map(|name| name.replace("bias", "weight"));
        for name in weights.chain(["tok_emb.weight", "pos_emb", "head.weight"].map(str::to_owned)) {
            assert!(names.contains(&name.as_str()), "{name} is not in {names:?}");
        }
        assert_eq!(names.len(), 2 * 9 + 3);
        let shape = |name: &str| layout.iter().find(|l| l.0 == name).map(|l| l.1.clone());
        assert_eq!(shape("blocks.0.mlp.0.weight"), Some(vec![8, 4]));
        assert_eq!(shape("pos_emb"), Some(vec![1, 5, 4]));
    }

    #[test]
    fn muon_updates_the_linear_layers_of_blocks_alone() {
        let chosen = |name: &str| is_hidden_matrix(name, 2);
        let mut layers = ["key", "query", "value", "proj"]
            .map(|one| format!("blocks.1.attn.{one}.weight"))
            .to_vec();
        layers.extend(
            [
                "blocks.0.mlp.2.weight",
                "down_block.attn.key.weight",
                "blocks.0.attn.w1.weight",
            ]
            .map(str::to_owned),
        );
        assert!(layers.iter().all(|name| chosen(name)));
        let others = [
            "tok_emb.weight",
            "head.weight",
            "blocks.0.attn.relative_attention_bias.weight",
            "blocks.0.attn.pre_softmax_talking_heads.weight",
            "blocks.0.attn.key.bias",
        ];
        assert!(!others.into_iter().any(chosen));
        assert!(!is_hidden_matrix("blocks.0.mlp.0.weight", 1));
        // Of a whole model: six layers of a block.
        type Tiny = crate::model::gpt::Gpt<4, 8, 6, 5, f32, Cpu>;
        let layout = weights_of::<Tiny>(1, AttentionSpec::of("vanilla"));
        let all = layout
            .iter()
            .filter(|(name, shape)| is_hidden_matrix(name, shape.len()));
        assert_eq!(all.count(), 6);
    }

    #[test]
    fn a_perceiver_s_latents_and_blocks_have_the_names_of_the_reference_and_latents_decay() {
        type Latents = crate::model::perceiver::Perceiver<4, 8, 6, 5, f32, Cpu>;
        let attention = AttentionSpec::latents(3);
        let layout = weights_of::<Latents>(3, attention);
        let shape = |name: &str| layout.iter().find(|l| l.0 == name).map(|l| l.1.clone());
        assert_eq!(shape("down_block.C"), Some(vec![1, 3, 4]));
        assert!(decays("down_block.C"));
        for block in ["down_block", "blocks.0", "up_block"] {
            for layer in ["ln1", "ln2", "attn.proj", "mlp.2"] {
                assert!(shape(&format!("{block}.{layer}.bias")).is_some_and(|s| s == [4]));
            }
            for layer in ["attn.key", "attn.query", "attn.value"] {
                assert!(shape(&format!("{block}.{layer}.weight")).is_some_and(|s| s == [4, 4]));
            }
            assert!(shape(&format!("{block}.mlp.0.weight")).is_some_and(|s| s == [8, 4]));
        }
        assert_eq!(layout.len(), 1 + 3 * 16 + 5);
    }
}
