//! What settings from outside the files are called.

/// What every variable starts with; `__` stands between levels, as in `ATTNLAB_MODEL__LAYERS=2`.
pub(super) const PREFIX: &str = "ATTNLAB_";

/// Keys that have an option of their own, which comes to the overrides as `--KEY=VALUE`.
pub(super) const OPTIONS: [&str; 2] = ["device", "precision"];
