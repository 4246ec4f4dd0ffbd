//! Walks over the tensors of a model: dfdx's visitors, each behind one function.

use dfdx::nn::tensor_collection::{
    RecursiveWalker, TensorCollection, TensorOptions, TensorViewer, TensorVisitor, ViewTensorMut,
    ViewTensorName, ViewTensorRef,
};
use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{Gradients, Tensor};

use super::weights::Weight;
use crate::ops::LabDevice;
use crate::ops::adamw::Update;
use crate::ops::parameters::visitor;

/// All weights with their names, copied to the host.
pub(super) fn read<M: TensorCollection<f32, D>, D: LabDevice<f32>>(model: &M) -> Vec<Weight> {
    let mut reader = Read(vec![]);
    let walk = walk::<M, D, _>((model, String::new()), &mut reader);
    walk.expect("reading the host's copy of a tensor cannot fail");
    reader.0
}

/// Replaces all weights, in the order of [`read`].
pub(super) fn write<M: TensorCollection<f32, D>, D: LabDevice<f32>>(
    model: &mut M,
    values: &[Vec<f32>],
) {
    let walk = walk::<M, D, _>(model, &mut Write(values.iter()));
    walk.expect("writing a tensor of the same length cannot fail");
}

/// Sets every tensor of a container to zero.
pub(super) fn clear<M: TensorCollection<f32, D>, D: LabDevice<f32>>(container: &mut M) {
    let zeros = |(_, shape): (String, Vec<usize>)| vec![0.0; shape.iter().product()];
    let values: Vec<Vec<f32>> = layout::<M, D>().into_iter().map(zeros).collect();
    write(container, &values);
}

/// Names and shapes of a model type's weights; nothing is built.
pub(super) fn layout<M: TensorCollection<f32, D>, D: LabDevice<f32>>() -> Vec<(String, Vec<usize>)>
{
    let mut layout = Layout(vec![]);
    walk::<M, D, _>(((), String::new()), &mut layout).expect("listing shapes cannot fail");
    layout.0
}

/// The first pass of an optimiser step: accumulates the gradient norm.
pub(super) fn measure<M: TensorCollection<f32, D>, D: LabDevice<f32>>(
    model: &M,
    gradients: &mut Gradients<f32, D>,
    step: &mut D::Step,
) -> Result<(), D::Err> {
    walk::<M, D, _>(model, &mut Measure { gradients, step })
}

/// The second pass: one AdamW update of every tensor; biases do not decay.
pub(super) fn update<M: TensorCollection<f32, D>, D: LabDevice<f32>>(
    model: &mut M,
    [first, second]: [&mut M; 2],
    gradients: &mut Gradients<f32, D>,
    step: &mut D::Step,
    update: Update,
) -> Result<(), D::Err> {
    let mut updater = Updater {
        gradients,
        step,
        update,
    };
    walk::<M, D, _>((model, first, second, String::new()), &mut updater)
}

/// All gradients with the names of their weights, copied to the host.
#[cfg(test)]
pub(super) fn gradients<M: TensorCollection<f32, D>, D: LabDevice<f32>>(
    model: &M,
    gradients: &Gradients<f32, D>,
) -> Vec<(String, Vec<f32>)> {
    let all = vec![];
    let mut reader = ReadGradients { gradients, all };
    let walk = walk::<M, D, _>((model, String::new()), &mut reader);
    walk.expect("reading the host's copy of a gradient cannot fail");
    reader.all
}

/// Shows every tensor of a model to a visitor.
fn walk<'a, M, D, V>(
    model: <V::Viewer as TensorViewer>::View<'a, M>,
    visitor: &'a mut V,
) -> Result<(), D::Err>
where
    M: TensorCollection<f32, D> + 'a,
    D: LabDevice<f32>,
    V: TensorVisitor<f32, D, Err = D::Err, E2 = f32, D2 = D> + 'a,
{
    M::iter_tensors(&mut RecursiveWalker {
        m: model,
        f: visitor,
    })?;
    Ok(())
}

/// Whether AdamW applies weight decay to the parameter of that name: all but the biases, as in the
/// reference.
fn decays(name: &str) -> bool {
    !name.ends_with("bias")
}

#[cfg(test)]
struct ReadGradients<'a, D: LabDevice<f32>> {
    gradients: &'a Gradients<f32, D>,
    all: Vec<(String, Vec<f32>)>,
}

#[cfg(test)]
visitor! {
    [D: LabDevice<f32>] ReadGradients<'_, D>: f32, (ViewTensorRef, ViewTensorName),
    |self, _, (tensor, name): (&Tensor<S, f32, D>, String)| {
        self.all.push((name, self.gradients.get(tensor).as_vec()));
    }
}

struct Read(Vec<Weight>);

visitor! {
    [D: LabDevice<f32>] Read: f32, (ViewTensorRef, ViewTensorName),
    |self, _, (tensor, name): (&Tensor<S, f32, D>, String)| {
        self.0.push(Weight {
            name,
            shape: tensor.shape().concrete().into_iter().collect(),
            values: tensor.as_vec(),
        });
    }
}

struct Write<'a>(std::slice::Iter<'a, Vec<f32>>);

visitor! {
    [D: LabDevice<f32>] Write<'_>: f32, ViewTensorMut,
    |self, _, tensor: &mut Tensor<S, f32, D>| {
        tensor.copy_from(self.0.next().expect("one list of values per tensor"));
    }
}

struct Layout(Vec<(String, Vec<usize>)>);

visitor! {
    [D: LabDevice<f32>] Layout: f32, ((), ViewTensorName),
    |self, options, ((), name): ((), String)| {
        self.0.push((name, options.shape.concrete().into_iter().collect()));
    }
}

struct Measure<'a, D: LabDevice<f32>> {
    gradients: &'a mut Gradients<f32, D>,
    step: &'a mut D::Step,
}

visitor! {
    [D: LabDevice<f32>] Measure<'_, D>: f32, ViewTensorRef,
    |self, _, tensor: &Tensor<S, f32, D>| {
        D::try_accumulate_norm(self.step, tensor, self.gradients)?;
    }
}

struct Updater<'a, D: LabDevice<f32>> {
    gradients: &'a mut Gradients<f32, D>,
    step: &'a mut D::Step,
    update: Update,
}

/// A parameter, its two moments, and its name.
type Updated<'a, S, D> = (
    &'a mut Tensor<S, f32, D>,
    &'a mut Tensor<S, f32, D>,
    &'a mut Tensor<S, f32, D>,
    String,
);

visitor! {
    [D: LabDevice<f32>] Updater<'_, D>: f32, (ViewTensorMut, ViewTensorMut, ViewTensorMut, ViewTensorName),
    |self, _, (parameter, first, second, name): Updated<'_, S, D>| {
        let mut update = self.update;
        if !decays(&name) {
            update.weight_decay = 0.0;
        }
        D::try_update(self.step, parameter, self.gradients, [first, second], update)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfdx::tensor::Cpu;

    /// One layer of width 4.
    type Tiny = crate::model::gpt::Gpt<
        1,
        4,
        8,
        6,
        5,
        crate::model::attention::Vanilla<4, 2, f32, Cpu>,
        f32,
        Cpu,
    >;

    #[test]
    fn names_are_the_reference_s_and_only_biases_do_not_decay() {
        let layout = layout::<Tiny, Cpu>();
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
    fn a_perceiver_s_latents_and_blocks_have_the_names_of_the_reference_and_latents_decay() {
        type Latents = crate::model::perceiver::Perceiver<4, 2, 8, 6, 5, 1, 3, f32, Cpu>;
        let layout = layout::<Latents, Cpu>();
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
