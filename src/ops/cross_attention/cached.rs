//! Cross-attention with a KV cache, on the CPU.

use dfdx::shapes::Const;
use dfdx::tensor::{Cpu, CpuError, TensorFromVec};
use rayon::prelude::*;

use super::sides::{input, pair_documents};
use super::{IncrementalCrossAttention, NewPairs, NormedStream};
use crate::ops::Stream;
use crate::ops::attention::cached::CachedAttention;
use crate::ops::attention::{Projections, Scoring};
use crate::ops::bridge::host;
use crate::ops::decoding::{CachedLayer as _, KvCache};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{plan, take};
use crate::ops::parameters::LayerNorm;

/// The sublayer with the KV cache of each sequence.
pub(super) struct CachedCrossAttention<'a, const EMBED: usize, const HEAD_DIM: usize> {
    normed: NormedStream,
    norm: [&'a [f32]; 2],
    layer: CachedAttention<'a, EMBED, EMBED, HEAD_DIM>,
    caches: Vec<KvCache>,
}

impl<'a, const EMBED: usize, const HEAD_DIM: usize> CachedCrossAttention<'a, EMBED, HEAD_DIM> {
    /// With an empty cache for each of `sequences`.
    pub(super) fn new(
        (normed, norm): (NormedStream, &'a LayerNorm<EMBED, f32, Cpu>),
        weights: &'a Projections<EMBED, EMBED, f32, Cpu>,
        sequences: usize,
    ) -> Self {
        Self {
            normed,
            norm: [host(&norm.weight), host(&norm.bias)],
            // Positions do not enter the scores.
            layer: CachedAttention::new(weights, Scoring::SOFTMAX, 0),
            caches: (0..sequences).map(|_| KvCache::default()).collect(),
        }
    }
}

impl<const EMBED: usize, const HEAD_DIM: usize> IncrementalCrossAttention<EMBED, f32, Cpu>
    for CachedCrossAttention<'_, EMBED, HEAD_DIM>
{
    fn try_decode(
        &mut self,
        queries: &Stream<EMBED, f32, Cpu>,
        keys: Option<&Stream<EMBED, f32, Cpu>>,
        new: &NewPairs<'_>,
    ) -> Result<Stream<EMBED, f32, Cpu>, CpuError> {
        let shards = pair_documents(plan(new.queries), new.keys);
        let (x_queries, x_keys) = (host(queries), keys.map_or(&[][..], host));
        let taken = new
            .sequences
            .iter()
            .map(|&sequence| std::mem::take(&mut self.caches[sequence]));
        let mut caches: Vec<KvCache> = taken.collect();
        let mut y = vec![0.0; x_queries.len()];
        let (mut rest_of_caches, mut rest_of_y) = (&mut caches[..], &mut y[..]);
        let mut work = vec![];
        for shard in &shards {
            let caches = take(&mut rest_of_caches, shard[0].documents().count());
            work.push((shard, caches, take(&mut rest_of_y, shard[0].len() * EMBED)));
        }
        let (layer, width) = (&self.layer, self.layer.width());
        (work.into_par_iter()).for_each(|(shard, caches, y)| {
            let [queries, keys] = shard;
            let x = [queries.rows(x_queries, EMBED), keys.rows(x_keys, EMBED)];
            let normed = [
                input((self.normed, self.norm), NormedStream::Queries, x[0]),
                input((self.normed, self.norm), NormedStream::Keys, x[1]),
            ];
            let mut entries = Scratch::new(keys.len() * width);
            if !entries.is_empty() {
                layer.cache_entries(normed[1].as_deref().unwrap_or(x[1]), &[], &mut entries);
            }
            let [mut projected, mut heads] = [(); 2].map(|()| Scratch::new(y.len()));
            layer.queries(normed[0].as_deref().unwrap_or(x[0]), &[], &mut projected);
            let pairs = queries.documents().zip(keys.documents());
            for (cache, (queries, keys)) in caches.iter_mut().zip(pairs) {
                layer.append(cache, &entries[keys.start * width..keys.end * width]);
                let own = queries.start * EMBED..queries.end * EMBED;
                layer.attend(cache, &projected[own.clone()], &mut heads[own]);
            }
            layer.project(&heads, y);
            y.iter_mut().zip(x[0]).for_each(|(y, x)| *y += x);
        });
        for (cache, &sequence) in caches.into_iter().zip(new.sequences) {
            self.caches[sequence] = cache;
        }
        let shape = (y.len() / EMBED, Const::<EMBED>);
        queries.device().try_tensor_from_vec(y, shape)
    }
}
