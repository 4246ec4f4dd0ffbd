//! What all residual sublayers that look back have in common on the CPU.
//!
//! A sublayer brings its [`Memory`]. Here is the rest: shards of rows over the threads, layer norm,
//! residual, and what each row keeps.

use std::borrow::Cow;
use std::ops::Range;

use dfdx::shapes::Const;
use dfdx::tensor::{Cpu, CpuError, TensorFromVec};
use dfdx::tensor_ops::ReshapeTo;
use rayon::prelude::*;

use super::{NewTokens, Reader, Wanted};
use crate::ops::Stream;
use crate::ops::bridge::host;
use crate::ops::kernels::rows::normalise;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{plan, split, take};
use crate::ops::parameters::LayerNorm;

/// What is kept of a row's tokens: what the blocks hold is the sublayer's affair.
#[derive(Default)]
pub(in crate::ops) struct Kept {
    /// Number of tokens.
    pub(in crate::ops) tokens: usize,
    pub(in crate::ops) blocks: Vec<Vec<f32>>,
}

/// How a sublayer remembers tokens and looks back at them, in terms of the normed stream. Matrices have
/// rows of `EMBED` elements unless something else is said.
pub(in crate::ops) trait Memory: Sync {
    /// How many numbers of a token later ones need.
    fn width(&self) -> usize;

    /// `[tokens, EMBED]` → `[tokens, width]`, written: what is to be remembered of tokens at `places`.
    fn remember(&self, normed: &[f32], places: &[usize], news: &mut [f32]);

    /// Appends the next tokens of a row, `[tokens, width]`.
    fn keep(&self, kept: &mut Kept, news: &[f32]);

    /// What tokens at `places` look back for, such as queries; written.
    fn ask(&self, normed: &[f32], places: &[usize], queries: &mut [f32]);

    /// What the last tokens of a row find, themselves included; written.
    fn look_back(&self, kept: &Kept, queries: &[f32], found: &mut [f32]);

    /// What the sublayer adds to the stream; written.
    fn project(&self, found: &[f32], out: &mut [f32]);
}

/// A sublayer with such a memory, reading.
pub(in crate::ops) struct Remembering<'a, M> {
    norm: [&'a [f32]; 2],
    memory: M,
    rows: Vec<Kept>,
}

impl<'a, M> Remembering<'a, M> {
    /// So many rows that have read nothing.
    pub(in crate::ops) fn new<const EMBED: usize>(
        norm: &'a LayerNorm<EMBED, f32, Cpu>,
        memory: M,
        rows: usize,
    ) -> Self {
        Self {
            norm: [host(&norm.weight), host(&norm.bias)],
            memory,
            rows: (0..rows).map(|_| Kept::default()).collect(),
        }
    }
}

/// One row's part in a reading.
struct Row<'a> {
    kept: Kept,
    before: &'a [Range<usize>],
    own: Range<usize>,
    wanted: Range<usize>,
}

/// Number of tokens that are wanted of some rows.
fn wanted_of(rows: &[Row<'_>]) -> usize {
    rows.iter().map(|row| row.wanted.len()).sum()
}

impl<const EMBED: usize, M: Memory> Reader<EMBED, f32, Cpu> for Remembering<'_, M> {
    fn try_read(
        &mut self,
        x: Stream<EMBED, f32, Cpu>,
        new: &NewTokens<'_>,
        wanted: Wanted,
    ) -> Result<Stream<EMBED, f32, Cpu>, CpuError> {
        new.check();
        let x = x.try_contiguous()?;
        let device = x.device();
        let (x, shards, width) = (host(&x), plan(new.starts), self.memory.width());

        // What is remembered first, of all tokens: rows begin with tokens of other rows.
        let mut normed = Scratch::new(x.len());
        let mut news = Scratch::new(x.len() / EMBED * width);
        let parts = split(&shards, EMBED, &mut normed).into_par_iter();
        (parts.zip(split(&shards, width, &mut news)).zip(&shards)).for_each(
            |((normed, news), shard)| {
                normalise(shard.rows(x, EMBED), self.norm, normed);
                self.memory
                    .remember(normed, &new.places[shard.tokens()], news);
            },
        );

        let mut rows: Vec<Row<'_>> = (new.rows.iter().zip(new.before).zip(new.own()))
            .map(|((&row, before), own)| Row {
                kept: std::mem::take(&mut self.rows[row]),
                before,
                wanted: wanted.of(&own),
                own,
            })
            .collect();
        let count = wanted_of(&rows);
        let mut y = vec![0.0; count * EMBED];
        let (mut rest_of_rows, mut rest_of_y) = (&mut rows[..], &mut y[..]);
        let mut work = vec![];
        for shard in &shards {
            let rows = take(&mut rest_of_rows, shard.documents().count());
            let count = wanted_of(rows);
            work.push((rows, take(&mut rest_of_y, count * EMBED)));
        }
        (work.into_par_iter()).for_each(|(rows, y)| {
            self.look_back::<EMBED>(x, (&normed, &news), new.places, rows, y)
        });

        for (row, &at) in rows.into_iter().zip(new.rows) {
            self.rows[at] = row.kept;
        }
        device.try_tensor_from_vec(y, (count, Const::<EMBED>))
    }
}

impl<M: Memory> Remembering<'_, M> {
    /// The rows of a shard remember what they read and look back; `x`, `normed`, `news` and `places` are
    /// of all new tokens; `y: [wanted tokens of the shard, EMBED]`, written.
    fn look_back<const EMBED: usize>(
        &self,
        x: &[f32],
        (normed, news): (&[f32], &[f32]),
        places: &[usize],
        rows: &mut [Row<'_>],
        y: &mut [f32],
    ) {
        let (memory, width) = (&self.memory, self.memory.width());
        let tokens: Vec<usize> = rows.iter().flat_map(|row| row.wanted.clone()).collect();
        let places: Vec<usize> = tokens.iter().map(|&token| places[token]).collect();
        let [mut queries, mut found] = [(); 2].map(|()| Scratch::new(y.len()));
        memory.ask(&of_tokens::<EMBED>(&tokens, normed), &places, &mut queries);
        let mut end = 0;
        for row in rows {
            // What a row keeps is fetched once, to be added to and to be read.
            for tokens in row.before.iter().chain([&row.own]) {
                let news = &news[tokens.start * width..tokens.end * width];
                memory.keep(&mut row.kept, news);
            }
            let start = end;
            end += row.wanted.len() * EMBED;
            memory.look_back(&row.kept, &queries[start..end], &mut found[start..end]);
        }
        memory.project(&found, y);
        let x = of_tokens::<EMBED>(&tokens, x);
        y.iter_mut().zip(&*x).for_each(|(y, x)| *y += x);
    }
}

/// The rows of some tokens, in ascending order, of a `[tokens, EMBED]` matrix.
fn of_tokens<'a, const EMBED: usize>(tokens: &[usize], matrix: &'a [f32]) -> Cow<'a, [f32]> {
    let (first, last) = (tokens[0], tokens[tokens.len() - 1]);
    if last - first + 1 == tokens.len() {
        return Cow::Borrowed(&matrix[first * EMBED..(last + 1) * EMBED]);
    }
    let rows = tokens
        .iter()
        .flat_map(|&token| &matrix[token * EMBED..][..EMBED]);
    Cow::Owned(rows.copied().collect())
}
