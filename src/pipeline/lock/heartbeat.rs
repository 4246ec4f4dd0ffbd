//! Whether a process that cannot be looked up is still alive, judged by the counter in its claim.

use std::time::Instant;

use super::Rules;
use super::holder::Liveness;

/// After a gap of more beats than this, watching starts over: whatever kept the observer from looking,
/// usually a file system outage, may have kept the holder from counting too.
const LONGEST_GAP: u32 = 3;

/// What an observer has seen of a heartbeat so far.
#[derive(Debug, Default)]
pub(super) struct Heartbeat(Option<Seen>);

#[derive(Debug)]
struct Seen {
    text: String,
    /// The first and the last look at this text, with no long gap between.
    first: Instant,
    last: Instant,
    has_changed: bool,
}

impl Heartbeat {
    /// Liveness of a claim's writer, given the claim's current content: gone once many looks, spread over
    /// the time in `rules`, have all found the same content.
    pub(super) fn observe(&mut self, text: &str, rules: Rules) -> Liveness {
        let now = (rules.now)();
        let anew = |has_changed| Seen {
            text: text.to_owned(),
            first: now,
            last: now,
            has_changed,
        };
        let seen = self.0.get_or_insert_with(|| anew(false));
        if seen.text != text || now - seen.last > rules.beat * LONGEST_GAP {
            *seen = anew(seen.text != text);
        }
        seen.last = now;
        match (seen.last - seen.first >= rules.still, seen.has_changed) {
            (true, _) => Liveness::Gone,
            (false, true) => Liveness::Alive,
            (false, false) => Liveness::Unknown,
        }
    }
}
