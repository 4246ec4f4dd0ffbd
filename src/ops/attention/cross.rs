//! Cross-attention, where queries come from one stream, and keys and values from another: what it does not share with
//! self-attention, which is cross-attention from a stream to itself.

use std::ops::Range;

use dfdx::shapes::{Const, HasShape};
use dfdx::tensor::{Cpu, CpuError, Tape, TensorFromVec};

use super::{HeadKind, Layout, Similarity};
use crate::ops::Stream;
use crate::ops::bridge::{host, take_gradient};

/// Which of the two streams the norm applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormedStream {
    /// The queries; the residual connection bypasses the norm.
    Queries,
    /// The keys and values.
    Keys,
}

impl NormedStream {
    /// Whether the norm applies to queries, and to keys.
    pub(super) fn flags(self) -> [bool; 2] {
        [self == Self::Queries, self == Self::Keys]
    }
}

impl Layout {
    /// Panics if the layout has no meaning for two streams. There may be more queries than keys, so distances to keys
    /// are undefined; other parts need every token to be both a query and a key.
    pub(super) fn check_pair(&self) {
        let scoring = self.scoring;
        let of_one_stream = scoring.bias.is_some()
            || scoring.window.is_some()
            || scoring.similarity == Similarity::StickBreaking
            || self.delta
            || matches!(self.head, HeadKind::Synthesizer { .. });
        assert!(
            !of_one_stream,
            "this layout does not support cross-attention"
        );
    }
}

/// Panics if the streams do not have the same documents, or if a document has queries but no keys.
pub(super) fn check_starts([queries, keys]: [&[usize]; 2]) {
    assert_eq!(queries.len(), keys.len(), "document counts");
    for (queries, keys) in queries.windows(2).zip(keys.windows(2)) {
        assert!(
            queries[0] == queries[1] || keys[0] < keys[1],
            "keys to attend to"
        );
    }
}

/// The keys that are attended to, no more than the queries of their document, and where those of each document start.
/// They are `keys` itself if that is all of them, and otherwise a copy whose gradient is added to that of `keys`.
pub(super) fn attended_keys<const EMBED: usize, T: Tape<f32, Cpu>>(
    keys: Stream<EMBED, f32, Cpu>,
    starts: [&[usize]; 2],
    tape: &mut T,
) -> Result<(Stream<EMBED, f32, Cpu>, Vec<usize>), CpuError> {
    let documents = starts[0].windows(2).zip(starts[1].windows(2));
    let documents = documents.map(|(queries, keys)| {
        let [of_queries, of_keys] = [queries, keys].map(|w| w[1] - w[0]);
        let count = of_queries.min(of_keys);
        keys[0] * EMBED..(keys[0] + count) * EMBED
    });
    let documents: Vec<Range<usize>> = documents.collect();
    let mut of_attended = vec![0];
    for elements in &documents {
        of_attended.push(of_attended[of_attended.len() - 1] + elements.len() / EMBED);
    }
    let count = of_attended[documents.len()];
    if count == keys.shape().0 {
        return Ok((keys, of_attended));
    }
    let parts: Vec<&[f32]> = (documents.iter())
        .map(|at| &host(&keys)[at.clone()])
        .collect();
    let device = keys.device().clone();
    let attended = device.try_tensor_from_vec(parts.concat(), (count, Const::<EMBED>))?;
    if T::OWNS_TAPE {
        let of = attended.clone();
        tape.add_backward_op(move |gradients| {
            let dattended = take_gradient(gradients, &device, &of)?;
            let dkeys = gradients.get_or_alloc_mut(&keys)?;
            let mut rest = &dattended[..];
            for elements in documents {
                let (own, after) = rest.split_at(elements.len());
                rest = after;
                (dkeys[elements].iter_mut().zip(own)).for_each(|(to, d)| *to += d);
            }
            Ok(())
        });
    }
    Ok((attended, of_attended))
}
