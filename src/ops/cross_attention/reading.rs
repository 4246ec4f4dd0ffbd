//! Reading rows bit by bit: a row's keys and values are remembered.

use dfdx::shapes::Const;
use dfdx::tensor::{Cpu, CpuError, TensorFromVec};
use rayon::prelude::*;

use super::cpu::input;
use super::sides::alongside;
use super::{CrossReader, NewPairs, Normed};
use crate::ops::Stream;
use crate::ops::attention::memory::KeysAndValues;
use crate::ops::attention::{Projections, Scoring};
use crate::ops::bridge::host;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{plan, take};
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::{Kept, Memory as _};

/// The op with what it remembers of each row.
pub(super) struct Remembering<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize> {
    normed: Normed,
    norm: [&'a [f32]; 2],
    memory: KeysAndValues<'a, EMBED, EMBED, HEADS, HEAD_DIM>,
    rows: Vec<Kept>,
}

impl<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>
    Remembering<'a, EMBED, HEADS, HEAD_DIM>
{
    /// So many rows that have read nothing.
    pub(super) fn new(
        (normed, norm): (Normed, &'a LayerNorm<EMBED, f32, Cpu>),
        weights: &'a Projections<EMBED, EMBED, f32, Cpu>,
        rows: usize,
    ) -> Self {
        Self {
            normed,
            norm: [host(&norm.weight), host(&norm.bias)],
            // No place enters a score.
            memory: KeysAndValues::new(weights, Scoring::SOFTMAX, 0),
            rows: (0..rows).map(|_| Kept::default()).collect(),
        }
    }
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize> CrossReader<EMBED, f32, Cpu>
    for Remembering<'_, EMBED, HEADS, HEAD_DIM>
{
    fn try_read(
        &mut self,
        queries: &Stream<EMBED, f32, Cpu>,
        keys: Option<&Stream<EMBED, f32, Cpu>>,
        new: &NewPairs<'_>,
    ) -> Result<Stream<EMBED, f32, Cpu>, CpuError> {
        let shards = alongside(plan(new.queries), new.keys);
        let (x_queries, x_keys) = (host(queries), keys.map_or(&[][..], host));
        let taken = new
            .rows
            .iter()
            .map(|&row| std::mem::take(&mut self.rows[row]));
        let mut rows: Vec<Kept> = taken.collect();
        let mut y = vec![0.0; x_queries.len()];
        let (mut rest_of_rows, mut rest_of_y) = (&mut rows[..], &mut y[..]);
        let mut work = vec![];
        for shard in &shards {
            let rows = take(&mut rest_of_rows, shard[0].documents().count());
            work.push((shard, rows, take(&mut rest_of_y, shard[0].len() * EMBED)));
        }
        let (memory, width) = (&self.memory, self.memory.width());
        (work.into_par_iter()).for_each(|(shard, rows, y)| {
            let [queries, keys] = shard;
            let x = [queries.rows(x_queries, EMBED), keys.rows(x_keys, EMBED)];
            let normed = [
                input((self.normed, self.norm), Normed::Queries, x[0]),
                input((self.normed, self.norm), Normed::Keys, x[1]),
            ];
            let mut news = Scratch::new(keys.len() * width);
            if !news.is_empty() {
                memory.remember(normed[1].as_deref().unwrap_or(x[1]), &[], &mut news);
            }
            let [mut asked, mut found] = [(); 2].map(|()| Scratch::new(y.len()));
            memory.ask(normed[0].as_deref().unwrap_or(x[0]), &[], &mut asked);
            let pairs = queries.documents().zip(keys.documents());
            for (kept, (queries, keys)) in rows.iter_mut().zip(pairs) {
                memory.keep(kept, &news[keys.start * width..keys.end * width]);
                let own = queries.start * EMBED..queries.end * EMBED;
                memory.look_back(kept, &asked[own.clone()], &mut found[own]);
            }
            memory.project(&found, y);
            y.iter_mut().zip(x[0]).for_each(|(y, x)| *y += x);
        });
        for (kept, &row) in rows.into_iter().zip(new.rows) {
            self.rows[row] = kept;
        }
        let shape = (y.len() / EMBED, Const::<EMBED>);
        queries.device().try_tensor_from_vec(y, shape)
    }
}
