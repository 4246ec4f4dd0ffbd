//! Shared by the CPU paths of the ops: matrix products, row functions, working memory, shards, and threads.

pub(super) mod matmul;
pub(super) mod rows;
pub(super) mod scratch;
pub(super) mod shards;
pub(super) mod threads;
