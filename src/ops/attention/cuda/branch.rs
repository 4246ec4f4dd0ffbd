//! The branch of attention on a GPU, for training: projections to heads and back, and what is between them.

use std::array::from_fn;

use dfdx::shapes::Rank1;
use dfdx::tensor::{Cuda, CudaError, Gradients, Tensor};

use super::heads::KeptHeads;
use crate::ops::attention::AttentionWeights;
use crate::ops::cuda::delta::Corrected;
use crate::ops::cuda::forget::ForgetGates;
use crate::ops::cuda::heads::{Attention, Qkv};
use crate::ops::cuda::linear::{Joined, Layer, back_through, project, weight};
use crate::ops::cuda::parts::{Gated, QkHeads};
use crate::ops::cuda::products::{Destination, Matrix};
use crate::ops::cuda::sublayer::{Branch, BranchBackward};
use crate::ops::cuda::{Address, Buffer, Gpu, NULL, at};

/// The branch of an attention sublayer.
///
/// With one stream, queries, keys and values lie side by side; with two, queries are rows of the first, and keys and
/// values of the second. Keys that are not projected, but laid out from the weights of positions, lie behind the values.
pub struct AttentionBranch<const EMBED: usize, const STREAMS: usize> {
    weights: AttentionWeights<EMBED, f32, Cuda>,
    attention: Attention,
}

/// What backward needs.
pub struct Saved<const STREAMS: usize> {
    /// The projections of each stream to queries, keys and values.
    joined: Vec<Joined>,
    /// Transformed queries and keys, and values, corrected by the delta rule if it is there, as rows of each stream.
    heads: [Buffer; STREAMS],
    /// Queries and keys before their norm, if they have one.
    inputs: Vec<Option<Buffer>>,
    forget: Option<ForgetGates>,
    delta: Option<Corrected>,
    kept: KeptHeads,
    gated: Option<Gated>,
}

impl<const EMBED: usize, const STREAMS: usize> AttentionBranch<EMBED, STREAMS> {
    /// The stream that keys and values are computed from.
    const KEYS: usize = STREAMS - 1;

    pub fn new(weights: &AttentionWeights<EMBED, f32, Cuda>, attention: Attention) -> Self {
        Self {
            weights: weights.clone(),
            attention,
        }
    }

    /// Row stride of what is projected from a stream.
    fn step(&self, stream: usize) -> usize {
        let (width, kv) = (self.weights.layout.width(), self.weights.layout.kv_width());
        match (STREAMS, stream) {
            (1, _) => width + 2 * kv,
            (_, 0) => width,
            _ => 2 * kv,
        }
    }

    /// Room for queries, keys and values.
    fn scratch(&self, gpu: &Gpu, tokens: [usize; STREAMS]) -> Result<[Buffer; STREAMS], CudaError> {
        let buffers = (0..STREAMS).map(|stream| gpu.scratch(tokens[stream] * self.step(stream)));
        let buffers: Vec<Buffer> = buffers.collect::<Result<_, _>>()?;
        Ok(buffers.try_into().ok().expect("one for each stream"))
    }

    /// Their views, with the running sums of forget gates, or the gradients of all these.
    fn qkv(&self, heads: &[Buffer; STREAMS], addends: Matrix) -> Qkv {
        let rows = |stream: usize| Matrix::new(at(&heads[stream]), self.step(stream));
        let layout = self.weights.layout;
        let (queries, first) = (rows(0), if STREAMS == 1 { layout.width() } else { 0 });
        let projected = rows(Self::KEYS).columns_from(first);
        let behind = projected.columns_from(layout.kv_width());
        let (keys, values) = match layout.has_keys() {
            true => (projected, behind),
            false => (behind, projected),
        };
        Qkv {
            queries,
            keys,
            values,
            addends,
        }
    }

    /// The projections of each stream, side by side: something of the layers to queries, to keys if they are projected, and
    /// to values.
    fn of_streams<L>(&self, query: L, key: Option<L>, value: L) -> Vec<Vec<L>> {
        let of_keys = key.into_iter().chain([value]);
        match STREAMS {
            1 => vec![[query].into_iter().chain(of_keys).collect()],
            _ => vec![vec![query], of_keys.collect()],
        }
    }

    /// The projections.
    fn layers(&self) -> Vec<Vec<Layer>> {
        let of = &self.weights;
        self.of_streams(
            Layer::of(of.to_queries()),
            of.key.as_ref().map(Layer::of),
            Layer::of(&of.value),
        )
    }

    /// Their gradients.
    fn dlayers(&self, gradients: &mut Gradients<f32, Cuda>) -> Result<Vec<Vec<Layer>>, CudaError> {
        let of = &self.weights;
        let query = Layer::gradient_of(of.to_queries(), gradients)?;
        let key = of
            .key
            .as_ref()
            .map(|key| Layer::gradient_of(key, gradients));
        let value = Layer::gradient_of(&of.value, gradients)?;
        Ok(self.of_streams(query, key.transpose()?, value))
    }

    /// The heads' outputs.
    fn output(&self, of: &Buffer) -> Matrix {
        Matrix::new(at(of), self.weights.layout.width())
    }

    /// The running sums of forget gates, if there are any.
    fn sums(&self, gates: Option<&ForgetGates>) -> Matrix {
        gates.map_or(Matrix::NONE, |gates| gates.sums(&self.attention.layout))
    }

    /// The heads of each stream that are normalised and transformed, one for each map, with the positions of its tokens.
    fn compared(&self, qkv: Qkv) -> [(QkHeads, Address); STREAMS] {
        let maps = self.attention.layout.by_map().of;
        let keys = if maps.has_keys() { maps.kv_heads } else { 0 };
        let documents = [&self.attention.queries, &self.attention.keys];
        from_fn(|stream| {
            let counts = match (STREAMS, stream) {
                (1, _) => [maps.heads, keys],
                (_, 0) => [maps.heads, 0],
                _ => [0, keys],
            };
            let (positions, rows) = documents[stream].positions();
            let heads = [qkv.queries, qkv.keys][stream];
            let compared = QkHeads {
                heads,
                counts,
                rows,
            };
            (compared, positions)
        })
    }

    /// The forget gates of a stream, if there are any.
    fn forget_gates(
        &self,
        gpu: &Gpu,
        normed: (Matrix, usize),
    ) -> Result<Option<ForgetGates>, CudaError> {
        let (layout, rows) = (&self.attention.layout, self.attention.keys.rows());
        let of = self.weights.forget.as_ref();
        let gates = of.map(|of| ForgetGates::new(gpu, layout, of, normed, rows));
        gates.transpose()
    }

    /// Corrects values in place if the delta rule does.
    fn correct(
        &self,
        gpu: &Gpu,
        (normed, tokens): (Matrix, usize),
        qkv: Qkv,
    ) -> Result<Option<Corrected>, CudaError> {
        let Some(of) = &self.weights.beta else {
            return Ok(None);
        };
        let beta = project(gpu, of, tokens, normed)?;
        Corrected::new(gpu, &self.attention, qkv, beta).map(Some)
    }
}

impl<const EMBED: usize, const STREAMS: usize> Branch<EMBED, STREAMS>
    for AttentionBranch<EMBED, STREAMS>
{
    type Saved = Saved<STREAMS>;

    fn last_bias(&self) -> &Tensor<Rank1<EMBED>, f32, Cuda> {
        &self.weights.proj.bias
    }

    fn forward(
        &self,
        gpu: &Gpu,
        of_streams: [usize; STREAMS],
        from: [Matrix; STREAMS],
        out: Matrix,
    ) -> Result<Self::Saved, CudaError> {
        let (of, attention) = (&self.weights, &self.attention);
        let (tokens, normed, layout) = (of_streams[0], from[0], &attention.layout);
        let of_keys = (from[Self::KEYS], of_streams[Self::KEYS]);
        let forget = self.forget_gates(gpu, of_keys)?;
        let layers = self.layers().into_iter();
        let joined = layers.map(|layers| Joined::new(gpu, layers));
        let joined: Vec<Joined> = joined.collect::<Result<_, _>>()?;
        let heads = self.scratch(gpu, of_streams)?;
        let qkv = self.qkv(&heads, self.sums(forget.as_ref()));
        let (by_map, mut inputs) = (layout.by_map(), vec![]);
        let norm = by_map.qk_norm(of.qk_norm.as_ref());
        for (stream, (compared, positions)) in self.compared(qkv).into_iter().enumerate() {
            joined[stream].apply(gpu, compared.rows, from[stream], compared.heads)?;
            let before = compared.rows * compared.width(&by_map.of);
            let before = gpu.scratch_if(norm.is_some(), before)?;
            if let Some(norm) = norm {
                by_map.normalise(gpu, norm, compared, at(&before))?;
            }
            inputs.push(before);
            by_map.transform(gpu, compared, positions)?;
        }
        if let Some(table) = &of.positions {
            table.lay_keys(gpu, &layout.of, qkv.keys, attention.keys.positions())?;
        }
        let delta = self.correct(gpu, of_keys, qkv)?;
        let kept = of.attend(gpu, attention, qkv)?;
        let gate = (of.gate.as_ref(), kept.output());
        let gated = Gated::new(gpu, layout, gate, (normed, tokens))?;
        let output = (gated.as_ref()).map_or(kept.output(), |gated| &gated.output);
        gpu.apply(weight(&of.proj.weight), tokens, self.output(output), out)?;
        Ok(Saved {
            joined,
            heads,
            inputs,
            forget,
            delta,
            kept,
            gated,
        })
    }

    fn backward(
        &self,
        gpu: &Gpu,
        of_streams: [usize; STREAMS],
        saved: Self::Saved,
        ends: BranchBackward<STREAMS>,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let (of, attention) = (&self.weights, &self.attention);
        let (tokens, layout) = (of_streams[0], &attention.layout);
        let heads = saved.kept.output();
        let output = saved.gated.as_ref().map_or(heads, |gated| &gated.output);
        let factors = (ends.dout, self.output(output));
        let dout = gpu.scratch(tokens * of.layout.width())?;
        let to = (self.output(&dout), Destination::Overwrite);
        back_through(gpu, &of.proj.weight, tokens, factors, to, gradients)?;
        let gated = saved.gated.as_ref();
        let dgates = gated.map(|gated| gated.backward(gpu, layout, (heads, &dout), tokens));
        let dgates = dgates.transpose()?;

        let dheads = self.scratch(gpu, of_streams)?;
        let numbers = of_streams[Self::KEYS] * of.layout.heads;
        let dsums = gpu.scratch_if(saved.forget.is_some(), numbers)?;
        let qkv = self.qkv(&saved.heads, self.sums(saved.forget.as_ref()));
        let dqkv = self.qkv(&dheads, Matrix::new(at(&dsums), of.layout.heads));
        let (met, back) = ((qkv, &saved.kept), (&dout, dqkv));
        let dscores = of.attend_backward(gpu, attention, met, back, gradients)?;
        if let Some((table, dscores)) = of.positions.as_ref().zip(dscores) {
            let back = (dqkv.keys, &dscores);
            table.keys_backward(gpu, &layout.of, back, &attention.keys, gradients)?;
        }
        let delta = saved.delta.as_ref();
        let delta = delta.map(|delta| delta.backward(gpu, attention, qkv, dqkv));
        let delta = delta.transpose()?;
        let (to, by_map, made) = (
            self.dlayers(gradients)?,
            layout.by_map(),
            self.compared(qkv),
        );
        for (stream, (back, positions)) in self.compared(dqkv).into_iter().enumerate() {
            by_map.transform_backward(gpu, (back, made[stream].0.heads), positions)?;
            let norm = by_map.qk_norm(of.qk_norm.as_ref());
            if let Some((norm, before)) = norm.zip(saved.inputs[stream].as_ref()) {
                by_map.normalise_backward(gpu, norm, (back, before), gradients)?;
            }
            let (factors, dinput) = ((back.heads, ends.inputs[stream]), ends.dinputs[stream]);
            (saved.joined[stream]).back(gpu, back.rows, factors, dinput, &to[stream])?;
        }
        let ends_of = |stream: usize| [ends.inputs[stream], ends.dinputs[stream].0];
        if let Some((gates, layer)) = saved.forget.as_ref().zip(of.forget.as_ref()) {
            let further = delta.as_ref().map_or(NULL, |delta| at(&delta.sums));
            let dsums = [at(&dsums), further];
            let (tokens, rows) = (of_streams[Self::KEYS], attention.keys.rows());
            let stream = (ends_of(Self::KEYS), tokens, rows);
            gates.backward(gpu, (layout, layer), dsums, stream, gradients)?;
        }
        let dbeta = delta.as_ref().map(|delta| &delta.beta);
        let of_gates = (&of.gate, dgates.as_ref(), 0);
        for (projection, d, stream) in [(&of.beta, dbeta, Self::KEYS), of_gates] {
            if let Some((projection, d)) = projection.as_ref().zip(d) {
                let ([input, dinput], of) = (ends_of(stream), &projection.weight);
                let factors = (Matrix::new(at(d), weight(of).outputs), input);
                let to = (dinput, Destination::Accumulate);
                back_through(gpu, of, of_streams[stream], factors, to, gradients)?;
            }
        }
        Ok(())
    }
}
