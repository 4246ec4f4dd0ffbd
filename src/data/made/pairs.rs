//! Keys that come again with their values: what the recall tasks of MAD have in common.

use std::collections::BTreeMap;
use std::ops::Range;

use rand::Rng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::{Example, numbered};
use crate::data::Split;
use crate::data::ragged::{PAD, Sequence};

/// An example as it is written, pair by pair. Keys and values have one or more tokens.
#[derive(Default)]
pub(super) struct Transcript {
    tokens: Vec<u32>,
    /// For each token of a value that a held-out example scores: its distance. Otherwise `None`.
    distances: Vec<Option<usize>>,
    /// For each key: its value, and where the key was last.
    seen: BTreeMap<Vec<u32>, (Vec<u32>, usize)>,
}

impl Transcript {
    /// Number of tokens so far.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Adds tokens that ask for nothing and answer nothing.
    pub(super) fn push(&mut self, tokens: impl IntoIterator<Item = u32>) {
        self.tokens.extend(tokens);
        self.distances.resize(self.tokens.len(), None);
    }

    /// Adds a key and its value, which is scored if the key came before, or in any case if `is_asked`. A key that comes
    /// for the first time takes the value given.
    pub(super) fn push_pair(
        &mut self,
        key: Vec<u32>,
        is_asked: bool,
        new_value: impl FnOnce() -> Vec<u32>,
    ) {
        let place = self.tokens.len();
        let (value, distance) = match self.seen.get(&key) {
            Some((value, last)) => (value.clone(), Some(place - last)),
            None => (new_value(), is_asked.then_some(0)),
        };
        self.push(key.iter().chain(&value).copied());
        let of_value = place + key.len()..;
        self.distances[of_value].fill(distance);
        self.seen.insert(key, (value, place));
    }

    /// The same after so many tokens of padding.
    pub(super) fn after(mut self, count: usize, padding: u32) -> Self {
        self.tokens.splice(..0, vec![padding; count]);
        self.distances.splice(..0, vec![None; count]);
        self
    }

    /// The example: each token has the next one as its target. Training scores all of them, a held-out example only the
    /// values that were asked for.
    pub(super) fn example(self, split: Split, length: usize) -> Example {
        let (mut tokens, distances) = (self.tokens, &self.distances[1..]);
        let mut targets = tokens[1..].to_vec();
        tokens.pop();
        let distances = match split {
            Split::Train => vec![],
            Split::Dev | Split::Test | Split::Validate => {
                for (target, distance) in targets.iter_mut().zip(distances) {
                    if distance.is_none() {
                        *target = PAD;
                    }
                }
                distances.iter().flatten().copied().collect()
            }
        };
        Example {
            sequence: Sequence { tokens, targets },
            length,
            distances,
        }
    }
}

/// Pairs of one token each, with noise among them: in-context recall.
pub(super) struct Pairs {
    pub length: usize,
    pub vocabulary: usize,
    /// How many of the vocabulary are noise.
    pub noise_symbols: usize,
    /// Probability that two tokens of noise are in the place of a pair.
    pub noise: f64,
}

impl Pairs {
    /// Number of keys.
    fn keys(&self) -> usize {
        (self.vocabulary - self.noise_symbols) / 2
    }

    /// Ids of keys, of values and of noise.
    fn ids(&self) -> [Range<u32>; 3] {
        let ends = [
            0,
            self.keys(),
            self.vocabulary - self.noise_symbols,
            self.vocabulary,
        ];
        [0, 1, 2].map(|part| ends[part] as u32 + 1..ends[part + 1] as u32 + 1)
    }

    pub(super) fn symbols(&self) -> Vec<String> {
        let values = self.vocabulary - self.noise_symbols - self.keys();
        std::iter::once(".".to_owned())
            .chain(numbered('k', self.keys()))
            .chain(numbered('v', values))
            .chain(numbered('n', self.noise_symbols))
            .collect()
    }

    pub(super) fn example(&self, split: Split, draws: &mut ChaCha8Rng) -> Example {
        // In few tokens there may be nothing but noise, at which the source fails.
        let transcript = loop {
            if let Some(transcript) = self.transcript(draws) {
                break transcript;
            }
        };
        transcript.example(split, self.length)
    }

    /// Pairs and noise, then one of the keys again; `None` if all was noise.
    fn transcript(&self, draws: &mut ChaCha8Rng) -> Option<Transcript> {
        let [keys, values, noise] = self.ids();
        let mut transcript = Transcript::default();
        let pairs = (self.length / 2) as u32;
        let without_noise = draws.gen_range(0..pairs);
        for pair in 0..pairs - 1 {
            if pair != without_noise && draws.gen_bool(self.noise) {
                transcript.push([(); 2].map(|()| draws.gen_range(noise.clone())));
            } else {
                let key = draws.gen_range(keys.clone());
                let new_value = || vec![draws.gen_range(values.clone())];
                transcript.push_pair(vec![key], false, new_value);
            }
        }
        let seen: Vec<_> = transcript.seen.iter().collect();
        let (key, (value, _)) = *seen.choose(draws)?;
        let (key, value) = (key.clone(), value.clone());
        transcript.push_pair(key, true, || value);
        Some(transcript)
    }
}
