//! What the CPU paths of the ops share: matrix products, row functions, and the work plan.

pub(super) mod matmul;
pub(super) mod rows;
pub(super) mod shards;
