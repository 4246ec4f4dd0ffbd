//! Cross-attention with a KV cache, on the CPU.

use dfdx::shapes::Const;
use dfdx::tensor::{Cpu, TensorFromVec};
use rayon::prelude::*;

use super::sides::{normed, pair_documents};
use super::{BoxedIncrementalCrossAttention, NormedStream};
use crate::ops::attention::AttentionWeights;
use crate::ops::attention::cached::CachedAttention;
use crate::ops::bridge::host;
use crate::ops::decoding::{CachedLayer as _, KvCache};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{plan, take};
use crate::ops::parameters::Norm;
use crate::ops::residual::norm_of;

/// With an empty cache for each of `sequences`.
pub(super) fn cached<'a, const EMBED: usize>(
    (which, norm): (NormedStream, &'a Norm<EMBED, f32, Cpu>),
    weights: &'a AttentionWeights<EMBED, f32, Cpu>,
    sequences: usize,
) -> BoxedIncrementalCrossAttention<'a, EMBED, f32, Cpu> {
    let norm = (which, norm_of(norm));
    // Positions do not enter the scores.
    let layer = CachedAttention::new(weights, 0);
    let mut all_caches: Vec<KvCache> = (0..sequences).map(|_| KvCache::default()).collect();
    Box::new(move |queries, keys, new| {
        let shards = pair_documents(plan(new.queries), new.keys);
        let (x_queries, x_keys) = (host(queries), keys.map_or(&[][..], host));
        let taken = new
            .sequences
            .iter()
            .map(|&sequence| std::mem::take(&mut all_caches[sequence]));
        let mut caches: Vec<KvCache> = taken.collect();
        let mut y = vec![0.0; x_queries.len()];
        let (mut rest_of_caches, mut rest_of_y) = (&mut caches[..], &mut y[..]);
        let mut work = vec![];
        for shard in &shards {
            let caches = take(&mut rest_of_caches, shard[0].documents().count());
            work.push((shard, caches, take(&mut rest_of_y, shard[0].len() * EMBED)));
        }
        let (layer, width, of_heads) = (&layer, layer.width(), layer.heads_width());
        (work.into_par_iter()).for_each(|(shard, caches, y)| {
            let [queries, keys] = shard;
            let x = [queries.rows(x_queries, EMBED), keys.rows(x_keys, EMBED)];
            let mut inputs = x;
            let normed = normed(norm, x);
            inputs[norm.0 as usize] = &normed;
            let mut entries = Scratch::new(keys.len() * width);
            if !entries.is_empty() {
                layer.cache_entries(inputs[1], &[], &mut entries);
            }
            let [mut projected, mut heads] =
                [(); 2].map(|()| Scratch::new(queries.len() * of_heads));
            layer.queries(inputs[0], &[], &mut projected);
            let pairs = queries.documents().zip(keys.documents());
            for (cache, (queries, keys)) in caches.iter_mut().zip(pairs) {
                layer.append(cache, &entries[keys.start * width..keys.end * width]);
                let own = queries.start * of_heads..queries.end * of_heads;
                layer.attend(cache, &projected[own.clone()], &mut heads[own]);
            }
            layer.project(&heads, y);
            y.iter_mut().zip(x[0]).for_each(|(y, x)| *y += x);
        });
        for (cache, &sequence) in caches.into_iter().zip(new.sequences) {
            all_caches[sequence] = cache;
        }
        let shape = (y.len() / EMBED, Const::<EMBED>);
        queries.device().try_tensor_from_vec(y, shape)
    })
}
