//! A sublayer's reader against one that reads everything again.

use dfdx::nn::BuildModule;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::shapes::Const;
use dfdx::tensor::{Cpu, CpuError, TensorFromVec};

use super::*;
use crate::data::ragged::Ragged;
use crate::ops::testing::{assert_close, fill, numbers, weights};

/// One row in a reading: its number, which row above of the same reading it begins like, with how many
/// of what that one reads, and how many tokens it reads of its own.
type Row = (usize, Option<(usize, usize)>, usize);

/// The row by itself.
fn alone(row: usize, own: usize) -> Row {
    (row, None, own)
}

/// Readings of some rows of one reader, one after another.
type Readings<'a> = &'a [&'a [Row]];

/// A whole sublayer of weights `E` on whole rows.
type Whole<'a, const EMBED: usize, E> =
    &'a dyn Fn(&E, Doubles<EMBED>, &Ragged) -> Result<Doubles<EMBED>, CpuError>;

/// A stream in double precision.
type Doubles<const EMBED: usize> = Stream<EMBED, f64, Cpu>;

/// Checks a sublayer of weights `F` in single precision; `exact` is the whole sublayer on whole rows. `tolerance` is
/// relative to the largest number.
#[track_caller]
pub(in crate::ops) fn check_reading<D, const EMBED: usize, F, E>(
    device: &D,
    fast: &dyn for<'a> Fn(&'a F, usize) -> BoxedReader<'a, EMBED, f32, D>,
    exact: Whole<'_, EMBED, E>,
    tolerance: f64,
) where
    D: Device<f32>,
    F: TensorCollection<f32, D> + BuildModule<D, f32>,
    E: TensorCollection<f64, Cpu> + BuildModule<Cpu, f64>,
{
    let (mut weights_32, mut weights_64): (F, E) = (
        BuildModule::build(device),
        BuildModule::build(&Cpu::default()),
    );
    let values: Vec<Vec<f64>> = (weights(&weights_64).iter().enumerate())
        .map(|(i, w)| numbers(w.len(), 1.0 + i as f64))
        .collect();
    fill(&mut weights_32, &values);
    fill(&mut weights_64, &values);

    let many: Vec<Row> = (0..50).map(|row| alone(row, 1 + row * 5 % 12)).collect();
    let some: Vec<Row> = (0..50).step_by(3).map(|row| alone(row, 1)).collect();
    let tree: Vec<Row> = (0..50)
        .map(|row| (row, (row > 0).then(|| (row - 1, row % 4)), 3 + row % 3))
        .collect();
    // Each begins with most of the one above, across blocks of 32 tokens.
    let deep: Vec<Row> = (0..8)
        .map(|row| (row, (row > 0).then(|| (row - 1, 25 + row)), 30 + row))
        .collect();
    let readings: [Readings<'_>; 6] = [
        &[&[alone(0, 1)]],
        &[
            &[alone(0, 3), alone(1, 1), alone(2, 7)],
            &[alone(1, 1)],
            &[alone(2, 2), alone(0, 20)],
        ],
        &[&many, &some, &some, &many],
        &[&tree, &some, &many],
        &[&deep, &[alone(0, 3), alone(5, 1)]],
        // What is kept fills blocks of 32 tokens.
        &[
            &[alone(0, 31)],
            &[alone(0, 1)],
            &[alone(0, 1)],
            &[alone(0, 40)],
        ],
    ];
    for readings in readings {
        for wanted in [Wanted::All, Wanted::Last] {
            let (mut fast, mut exact) = (
                fast(&weights_32, 50),
                Rereading::new(50, |x, batch: &Ragged| exact(&weights_64, x, batch)),
            );
            let mut lengths = vec![0; 50];
            for (salt, reading) in readings.iter().enumerate() {
                let x = 20.0 + salt as f64;
                check_one(
                    device,
                    fast.as_mut(),
                    &mut exact,
                    (reading, wanted),
                    &mut lengths,
                    (x, tolerance),
                );
            }
        }
    }
}

fn check_one<D: Device<f32>, const EMBED: usize>(
    device: &D,
    fast: &mut dyn Reader<EMBED, f32, D>,
    exact: &mut dyn Reader<EMBED, f64, Cpu>,
    (reading, wanted): (&[Row], Wanted),
    lengths: &mut [usize],
    (salt, tolerance): (f64, f64),
) {
    let (mut starts, mut paths, mut before) = (vec![0], Vec::<Vec<usize>>::new(), vec![]);
    let mut places = vec![];
    for (row, like, own) in reading {
        let end: usize = starts[starts.len() - 1];
        let path = like.map_or(vec![], |(row, count)| paths[row][..count].to_vec());
        let first = lengths[*row] + path.len();
        places.extend(first..first + own);
        lengths[*row] = first + own;
        before.push(ranges(&path));
        paths.push(path.into_iter().chain(end..end + own).collect());
        starts.push(end + own);
    }
    let rows: Vec<usize> = reading.iter().map(|(row, ..)| *row).collect();
    let new = NewTokens {
        rows: &rows,
        starts: &starts,
        places: &places,
        before: &before,
    };
    let x = numbers(starts[rows.len()] * EMBED, salt);
    let shape = (starts[rows.len()], Const::<EMBED>);
    let x_32 = device.tensor_from_vec(x.iter().map(|&v| v as f32).collect(), shape);
    let y = fast
        .try_read(x_32, &new, wanted)
        .expect("a sublayer")
        .as_vec();
    let truth = exact.try_read(Cpu::default().tensor_from_vec(x, shape), &new, wanted);
    let truth = truth.expect("a sublayer").as_vec();
    let y: Vec<f64> = y.into_iter().map(f64::from).collect();
    assert_close(&format!("{reading:?}"), &y, &truth, tolerance, 0.0);
}

/// Ascending numbers as ranges.
fn ranges(numbers: &[usize]) -> Vec<Range<usize>> {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b);
    runs.map(|run| run[0]..run[run.len() - 1] + 1).collect()
}
