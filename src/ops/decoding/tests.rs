//! Incremental decoding of a sublayer against recomputing whole sequences.

use dfdx::shapes::Const;
use dfdx::tensor::{Cpu, CpuError, TensorFromVec};
use dfdx::tensor_ops::Device;

use super::*;
use crate::data::ragged::Ragged;
use crate::ops::parameters::Weights;
use crate::ops::tests::{assert_close, fill, numbers, weights};

/// A sequence in a call: its number; an earlier sequence of the call whose first tokens are its prefix,
/// with their count; and how many tokens of its own follow.
type Input = (usize, Option<(usize, usize)>, usize);

/// A sequence without a shared prefix.
fn alone(sequence: usize, own: usize) -> Input {
    (sequence, None, own)
}

/// For which of a sequence's new tokens there is a query.
#[derive(Clone, Copy)]
enum Queries {
    All,
    Last,
}

/// Calls of one sublayer, one after another.
type Calls<'a> = &'a [&'a [Input]];

/// The sublayer with weights `E`, applied to whole sequences.
type Whole<'a, const EMBED: usize, E> =
    &'a dyn Fn(&E, Doubles<EMBED>, &Ragged) -> Result<Doubles<EMBED>, CpuError>;

/// A stream in double precision.
type Doubles<const EMBED: usize> = Stream<EMBED, f64, Cpu>;

/// Checks a sublayer with weights `F` in single precision, whose values are overwritten; `exact` computes whole sequences in double
/// precision. `tolerance` is relative to the largest output.
#[track_caller]
pub fn check_decoding<D, const EMBED: usize, F, E>(
    device: &D,
    (mut weights_32, mut weights_64): (F, E),
    fast: &dyn for<'a> Fn(&'a F, usize) -> BoxedIncremental<'a, EMBED, f32, D>,
    exact: Whole<'_, EMBED, E>,
    tolerance: f64,
) where
    D: Device<f32>,
    F: Weights<f32, D>,
    E: Weights<f64, Cpu>,
{
    let values: Vec<Vec<f64>> = (weights(&weights_64).iter().enumerate())
        .map(|(i, w)| numbers(w.len(), 1.0 + i as f64))
        .collect();
    fill(&mut weights_32, &values);
    fill(&mut weights_64, &values);

    let many: Vec<Input> = (0..50)
        .map(|sequence| alone(sequence, 1 + sequence * 5 % 12))
        .collect();
    let some: Vec<Input> = (0..50)
        .step_by(3)
        .map(|sequence| alone(sequence, 1))
        .collect();
    let tree: Vec<Input> = (0..50)
        .map(|sequence| {
            (
                sequence,
                (sequence > 0).then(|| (sequence - 1, sequence % 4)),
                3 + sequence % 3,
            )
        })
        .collect();
    // Each shares most of the one above as a prefix, across blocks of 32 tokens.
    let deep: Vec<Input> = (0..8)
        .map(|sequence| {
            (
                sequence,
                (sequence > 0).then(|| (sequence - 1, 25 + sequence)),
                30 + sequence,
            )
        })
        .collect();
    let calls: [Calls<'_>; 6] = [
        &[&[alone(0, 1)]],
        &[
            &[alone(0, 3), alone(1, 1), alone(2, 7)],
            &[alone(1, 1)],
            &[alone(2, 2), alone(0, 20)],
        ],
        &[&many, &some, &some, &many],
        &[&tree, &some, &many],
        &[&deep, &[alone(0, 3), alone(5, 1)]],
        // Caches that fill blocks of 32 tokens.
        &[
            &[alone(0, 31)],
            &[alone(0, 1)],
            &[alone(0, 1)],
            &[alone(0, 40)],
        ],
    ];
    for calls in calls {
        for queries in [Queries::All, Queries::Last] {
            let (mut fast, mut exact) = (
                fast(&weights_32, 50),
                recomputing(50, |[_, x], [_, starts]| {
                    exact(&weights_64, x.clone(), &Ragged::of_starts(starts.to_vec()))
                }),
            );
            let mut lengths = vec![0; 50];
            for (salt, call) in calls.iter().enumerate() {
                let x = 20.0 + salt as f64;
                check_one(
                    device,
                    &mut fast,
                    &mut exact,
                    (call, queries),
                    &mut lengths,
                    (x, tolerance),
                );
            }
        }
    }
}

fn check_one<D: Device<f32>, const EMBED: usize>(
    device: &D,
    fast: &mut BoxedIncremental<'_, EMBED, f32, D>,
    exact: &mut BoxedIncremental<'_, EMBED, f64, Cpu>,
    (call, of_call): (&[Input], Queries),
    lengths: &mut [usize],
    (salt, tolerance): (f64, f64),
) {
    let (mut starts, mut paths, mut prefixes) = (vec![0], Vec::<Vec<usize>>::new(), vec![]);
    let mut positions = vec![];
    for (sequence, prefix, own) in call {
        let end: usize = starts[starts.len() - 1];
        let path = prefix.map_or(vec![], |(sequence, count)| {
            paths[sequence][..count].to_vec()
        });
        let first = lengths[*sequence] + path.len();
        positions.extend(first..first + own);
        lengths[*sequence] = first + own;
        prefixes.push(ranges(&path));
        paths.push(path.into_iter().chain(end..end + own).collect());
        starts.push(end + own);
    }
    let sequences: Vec<usize> = call.iter().map(|(sequence, ..)| *sequence).collect();
    let (queries, rows): (Vec<usize>, Vec<usize>) = match of_call {
        Queries::All => (starts.clone(), (0..positions.len()).collect()),
        Queries::Last => (
            (0..starts.len()).collect(),
            starts[1..].iter().map(|end| end - 1).collect(),
        ),
    };
    let positions: Vec<usize> = rows.iter().map(|&row| positions[row]).collect();
    let new = NewTokens {
        sequences: &sequences,
        queries: &queries,
        positions: &positions,
        keys: &starts,
        prefixes: &prefixes,
    };
    let keys = numbers(starts[sequences.len()] * EMBED, salt);
    let queries = rows.iter().flat_map(|row| &keys[row * EMBED..][..EMBED]);
    let queries: Vec<f64> = queries.copied().collect();
    let single = |x: &[f64]| {
        let x: Vec<f32> = x.iter().map(|&v| v as f32).collect();
        let shape = (x.len() / EMBED, Const::<EMBED>);
        device.tensor_from_vec(x, shape)
    };
    let double = |x: Vec<f64>| {
        let shape = (x.len() / EMBED, Const::<EMBED>);
        Cpu::default().tensor_from_vec(x, shape)
    };
    let keys_32 = single(&keys);
    let queries_32 = match of_call {
        Queries::All => keys_32.clone(),
        Queries::Last => single(&queries),
    };
    let y = fast(&queries_32, Some(&keys_32), &new).expect("a sublayer");
    let truth = exact(&double(queries), Some(&double(keys)), &new).expect("a sublayer");
    let (y, truth) = (y.as_vec(), truth.as_vec());
    let y: Vec<f64> = y.into_iter().map(f64::from).collect();
    assert_close(&format!("{call:?}"), &y, &truth, tolerance, 0.0);
}

/// Ascending numbers as ranges of consecutive ones.
fn ranges(numbers: &[usize]) -> Vec<Range<usize>> {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b);
    runs.map(|run| run[0]..run[run.len() - 1] + 1).collect()
}
