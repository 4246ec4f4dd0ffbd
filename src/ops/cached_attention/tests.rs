//! Reading in pieces against the reference, which reads everything again.

use dfdx::nn::BuildModule;
use dfdx::shapes::Const;
use dfdx::tensor::{Cpu, TensorFromVec};

use super::*;
use crate::ops::testing::{assert_close, fill, numbers, weights};

type Sublayer<N> = (LayerNorm<6, N, Cpu>, Projections<6, N, Cpu>);

/// A reading: each row's number and how many new tokens it has.
type Reading = [(usize, usize)];

/// A row of the cache that all of its rows begin with, then readings of some of them.
fn check(shared: usize, readings: &[&Reading], wanted: Wanted) {
    let device = Cpu::default();
    let (mut fast, mut exact): (Sublayer<f32>, Sublayer<f64>) =
        (BuildModule::build(&device), BuildModule::build(&device));
    let mut salt = 0.0;
    let mut next = |n| {
        salt += 1.0;
        numbers(n, salt)
    };
    let values: Vec<Vec<f64>> = weights(&exact).iter().map(|w| next(w.len())).collect();
    fill(&mut fast, &values);
    fill(&mut exact, &values);
    let rows = 1 + readings
        .iter()
        .flat_map(|r| r.iter())
        .map(|(row, _)| row)
        .max()
        .expect("rows");
    let (mut fast_cache, mut exact_cache) = (Cache::new(1), Cache::new(1));
    let mut read = |reading: &Reading, caches: (&mut Cache<f32>, &mut Cache<f64>)| {
        let rows: Vec<usize> = reading.iter().map(|(row, _)| *row).collect();
        let mut starts = vec![0];
        starts.extend(reading.iter().scan(0, |end, (_, n)| {
            *end += n;
            Some(*end)
        }));
        let tokens = starts[reading.len()];
        let x = next(tokens * 6);
        let shape = (tokens, Const::<6>);
        let new = NewTokens {
            rows: &rows,
            starts: &starts,
            wanted,
        };
        let x32 = device.tensor_from_vec(x.iter().map(|&v| v as f32).collect(), shape);
        let y = Cpu::try_cached_attention::<6, 2, 3>(x32, &fast.0, &fast.1, new, caches.0);
        let x64 = device.tensor_from_vec(x, shape);
        let truth =
            reference::cached_attention::<6, 2, 3, _, _>(x64, &exact.0, &exact.1, new, caches.1);
        let y = y.expect("a sublayer").as_vec();
        let y: Vec<f64> = y.into_iter().map(f64::from).collect();
        assert_close(
            &format!("{reading:?} after {shared} shared"),
            &y,
            &truth.expect("a sublayer").as_vec(),
            1e-5,
            0.0,
        );
    };
    if shared > 0 {
        read(&[(0, shared)], (&mut fast_cache, &mut exact_cache));
    }
    let mut fast_cache = fast_cache.shared_by(rows);
    let mut exact_cache = exact_cache.shared_by(rows);
    for reading in readings {
        read(reading, (&mut fast_cache, &mut exact_cache));
    }
}

#[test]
fn reading_in_pieces_agrees_with_reading_everything_again() {
    let many: Vec<(usize, usize)> = (0..50).map(|row| (row, 1 + row * 5 % 12)).collect();
    let some: Vec<(usize, usize)> = (0..50).step_by(3).map(|row| (row, 1)).collect();
    for wanted in [Wanted::All, Wanted::Last] {
        for shared in [0, 1, 4] {
            check(shared, &[&[(0, 1)]], wanted);
            check(
                shared,
                &[&[(0, 3), (1, 1), (2, 7)], &[(1, 1)], &[(0, 2), (2, 20)]],
                wanted,
            );
            check(shared, &[&many, &some, &some, &many], wanted);
        }
    }
}

#[test]
fn what_is_kept_moves_when_it_outgrows_its_room() {
    for shared in [0, 33] {
        check(
            shared,
            &[&[(0, 31)], &[(0, 1)], &[(0, 1)], &[(0, 40)]],
            Wanted::All,
        );
    }
}

#[test]
fn rows_of_a_cache_share_what_was_read_once() {
    let mut cache = Cache::<f32>::new(1);
    let read = Kept {
        tokens: 1,
        numbers: vec![1.0, 2.0],
    };
    cache.rows[0] = read.clone();
    let cache = cache.shared_by(3);
    assert_eq!(cache.shared, read);
    assert_eq!(cache.rows, vec![Kept::default(); 3]);
}
