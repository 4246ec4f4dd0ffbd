//! Decoding with a KV cache gives the same results as recomputing every sequence.

use super::*;
use crate::model::decoder::{Decoder, DecoderInput, RecomputingDecoder};
use crate::ops::precision::Precision;

/// A model whose predictions differ from token to token.
fn lively() -> Session<Small, Cpu> {
    let start = Start {
        seed: 5,
        deviation: 0.3,
    };
    Session::new(Cpu::default(), Precision::F32, &small(), start).expect("memory")
}

fn inputs(prompts: &[Vec<u32>]) -> Vec<DecoderInput> {
    let rows = prompts.iter().cloned().enumerate();
    rows.map(|(row, tokens)| DecoderInput { row, tokens })
        .collect()
}

fn likeliest(distribution: &[f32]) -> u32 {
    let ids = 0u32..distribution.len() as u32;
    let most = ids.max_by(|&a, &b| distribution[a as usize].total_cmp(&distribution[b as usize]));
    most.expect("a vocabulary")
}

/// Decodes prompts and then `rounds` tokens, greedily; after round n the rows for which `ends(row, n)`
/// holds are dropped. Returns all log-probabilities, round by round.
fn say(
    decoder: &mut dyn Decoder,
    prompts: &[Vec<u32>],
    rounds: usize,
    ends: fn(usize, usize) -> bool,
) -> Vec<Vec<Vec<f32>>> {
    let mut inputs = inputs(prompts);
    let mut said = vec![];
    for round in 0..=rounds {
        let distributions = decoder.decode(&inputs).expect("it fits");
        assert_eq!(distributions.len(), inputs.len());
        for (inputs, distribution) in inputs.iter_mut().zip(&distributions) {
            inputs.tokens = vec![likeliest(distribution)];
        }
        inputs.retain(|u| !ends(u.row, round));
        said.push(distributions);
        if inputs.is_empty() {
            break;
        }
    }
    said
}

#[track_caller]
fn check(prompts: &[Vec<u32>], rounds: usize, ends: fn(usize, usize) -> bool) {
    let model = lively();
    let cached = say(model.decoder(prompts.len()).as_mut(), prompts, rounds, ends);
    let mut recomputed = RecomputingDecoder::new(&model, prompts.len());
    let recomputed = say(&mut recomputed, prompts, rounds, ends);
    assert_eq!(cached.len(), recomputed.len());
    for (round, (cached, recomputed)) in cached.iter().zip(&recomputed).enumerate() {
        assert_eq!(cached.len(), recomputed.len());
        for (cached, recomputed) in cached.iter().zip(recomputed) {
            assert_eq!(likeliest(cached), likeliest(recomputed), "round {round}");
            for (k, a) in cached.iter().zip(recomputed) {
                assert!((k - a).abs() < 1e-4, "round {round}: {k}, {a} recomputed");
            }
        }
    }
}

fn never(_: usize, _: usize) -> bool {
    false
}

/// Prompts of the given lengths whose first `shared` tokens are equal.
fn prompts(shared: usize, lengths: &[usize]) -> Vec<Vec<u32>> {
    let token = |row: usize, position: usize| {
        let salt = if position < shared { 0 } else { row + 1 };
        (2 + (position * 37 + salt * 101) % 254) as u32
    };
    let prompt = |(row, &n): (usize, &usize)| (0..n).map(|position| token(row, position)).collect();
    lengths.iter().enumerate().map(prompt).collect()
}

#[test]
fn ragged_prompts_that_begin_alike() {
    check(&prompts(4, &[9, 5, 14, 6, 12]), 5, never);
    let lengths: Vec<usize> = (0..90).map(|row| 4 + row * 7 % 15).collect();
    check(&prompts(3, &lengths), 5, |row, round| row % 4 == round);
}

#[test]
fn prompts_without_a_common_beginning() {
    check(&prompts(0, &[3, 8, 1, 5]), 6, never);
}

#[test]
fn one_prompt() {
    check(&prompts(0, &[7]), 9, never);
}

#[test]
fn prompts_of_one_token() {
    check(&prompts(0, &[1, 1, 1]), 4, never);
    check(&prompts(1, &[1, 1, 1]), 4, never);
}

#[test]
fn prompts_that_are_all_equal() {
    check(&prompts(8, &[8, 8, 8]), 4, |row, round| row == round);
}

#[test]
fn a_prompt_that_all_others_begin_with() {
    check(&prompts(5, &[9, 5, 7]), 4, never);
}

#[test]
fn rows_that_end_at_once() {
    check(&prompts(2, &[5, 9, 4, 6]), 5, |row, _| row != 2);
    check(&prompts(2, &[5, 9]), 5, |_, _| true);
}

#[test]
fn answers_that_fill_the_context_to_its_last_token() {
    check(&prompts(3, &[20, 20]), 4, never);
    check(&prompts(3, &[24, 10]), 14, |row, _| row == 0);
}

#[test]
fn rows_that_wait_and_rows_that_begin_later() {
    let model = lively();
    let (mut cached, mut recomputed) = (model.decoder(3), RecomputingDecoder::new(&model, 3));
    for round in [
        vec![(0, vec![3, 4, 5]), (2, vec![3, 4])],
        vec![(1, vec![3, 4, 9]), (2, vec![7, 8])],
        vec![(0, vec![9])],
        vec![(0, vec![1, 2]), (1, vec![5]), (2, vec![6])],
    ] {
        let rows = round.into_iter();
        let inputs: Vec<DecoderInput> = rows
            .map(|(row, tokens)| DecoderInput { row, tokens })
            .collect();
        let (cached, recomputed) = (cached.decode(&inputs), recomputed.decode(&inputs));
        let (cached, recomputed) = (cached.expect("it fits"), recomputed.expect("it fits"));
        for (k, a) in cached.concat().into_iter().zip(recomputed.concat()) {
            assert!((k - a).abs() < 1e-4, "{k}, {a} recomputed");
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit_of_an_answer() {
    let lengths: Vec<usize> = (0..200).map(|row| 3 + row * 7 % 15).collect();
    let prompts = prompts(2, &lengths);
    let said_on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("threads").install(|| {
            let model = lively();
            let said = say(model.decoder(200).as_mut(), &prompts, 5, |row, round| {
                row % 9 == round
            });
            said.concat().concat().iter().map(|p| p.to_bits()).collect()
        })
    };
    let one: Vec<u32> = said_on(1);
    assert!(one == said_on(2) && one == said_on(8));
}

#[test]
fn inputs_that_do_not_fit_are_rejected_and_change_nothing() {
    let model = lively();
    let mut recomputed = RecomputingDecoder::new(&model, 2);
    let mut cached = model.decoder(2);
    let first = inputs(&prompts(1, &[23, 5]));
    let row = |tokens: &[u32]| {
        let tokens = tokens.to_vec();
        vec![DecoderInput { row: 0, tokens }]
    };
    for decoder in [cached.as_mut(), &mut recomputed] {
        decoder.decode(&first).expect("it fits");
        for (tokens, message) in [
            (
                &[5, 6][..],
                "a document of 25 tokens is longer than the 24 that the model reads",
            ),
            (
                &[256],
                "token id 256 is not below the model's vocabulary of 256",
            ),
            (&[], "a row without any token to read"),
        ] {
            let error = decoder.decode(&row(tokens)).expect_err("it does not fit");
            assert!(error.to_string().contains(message), "{error}");
        }
    }
    let (cached, recomputed) = (cached.decode(&row(&[7])), recomputed.decode(&row(&[7])));
    let (cached, recomputed) = (
        cached.expect("one more fits"),
        recomputed.expect("one more fits"),
    );
    for (k, a) in cached[0].iter().zip(&recomputed[0]) {
        assert!((k - a).abs() < 1e-4, "{k}, {a} recomputed");
    }
}
