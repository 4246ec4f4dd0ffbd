//! What the CPU paths of the ops share: matrix products, row functions, working memory, and the work plan.

pub(super) mod matmul;
pub(super) mod rows;
pub(super) mod scratch;
pub(super) mod shards;
