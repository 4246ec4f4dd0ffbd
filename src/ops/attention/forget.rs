//! Forget gates: each token has one gate per head, and a key is weighed by the product of the gates of the tokens
//! after it, up to the query.
//!
//! The logarithms of the gates, `log σ(x · w + b) / divisor`, are summed up along a document, so that a score needs
//! only the difference of two sums (Lin et al. 2025, Forgetting Transformer, §3, equation 7).

/// Turns the projections of a document's tokens into running sums, in place: rows of `heads` with row stride `step`,
/// going on from `before`.
pub(super) fn sum_up(
    gates: &mut [f32],
    (heads, step): (usize, usize),
    divisor: usize,
    before: &[f32],
) {
    let mut sums = before.to_vec();
    for row in gates.chunks_mut(step) {
        for (sum, gate) in sums.iter_mut().zip(&mut row[..heads]) {
            *sum += log_sigmoid(*gate) / divisor as f32;
            *gate = *sum;
        }
    }
}

/// Backward of [`sum_up`], in place: from the gradients of a document's sums to those of the projections `gates`.
pub(super) fn sum_up_backward(
    gradients: &mut [f32],
    gates: &[f32],
    (heads, step): (usize, usize),
    divisor: usize,
) {
    let mut sums = vec![0.0; heads];
    let rows = gradients.chunks_mut(step).zip(gates.chunks(step));
    for (gradients, gates) in rows.rev() {
        let gradients = gradients[..heads].iter_mut().zip(gates);
        for (sum, (d, x)) in sums.iter_mut().zip(gradients) {
            *sum += *d;
            // The derivative of log σ(x) is σ(-x).
            *d = *sum / (divisor as f32 * (1.0 + x.exp()));
        }
    }
}

/// `log σ(x)`, without overflow.
fn log_sigmoid(x: f32) -> f32 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}
