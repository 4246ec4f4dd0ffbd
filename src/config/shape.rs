//! The shape of a model: the numbers that are compiled in, as one value.
//!
//! This file uses the standard library alone, because the build script includes it too.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The shape of `experiments/quickstart.toml`, which every program has, so that a first look compiles nothing more.
pub const QUICKSTART: ModelShape = ModelShape {
    embed: 64,
    hidden: 256,
    vocabulary: 64,
    context: 128,
};

/// The constants of one compiled model type. Ordered by width, then the others in field order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelShape {
    /// Width of the residual stream.
    pub embed: usize,
    /// Width of the hidden layer of a block's MLP.
    pub hidden: usize,
    /// Number of token ids.
    pub vocabulary: usize,
    /// Longest document, in tokens.
    pub context: usize,
}

impl ModelShape {
    /// The counts with their names, in the order of the fields.
    pub fn counts(&self) -> [(&'static str, usize); 4] {
        [
            ("embed", self.embed),
            ("hidden", self.hidden),
            ("vocabulary", self.vocabulary),
            ("context", self.context),
        ]
    }

    /// The list of the shapes to compile, `TARGET/PROFILE/shapes.txt` beside the program, given the folder of its build
    /// script's output, which is somewhere below `TARGET/PROFILE/build`.
    pub fn list_of_build(out: &Path) -> Option<PathBuf> {
        let mut above = out.ancestors();
        let build = above.find(|folder| folder.file_name().is_some_and(|name| name == "build"));
        Some(build?.with_file_name("shapes.txt"))
    }
}

impl fmt::Display for ModelShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts().map(|(name, count)| format!("{name}={count}"));
        f.write_str(&counts.join(" "))
    }
}

impl FromStr for ModelShape {
    type Err = String;

    /// Reads what is displayed.
    fn from_str(text: &str) -> Result<Self, String> {
        let count = |(name, word): (&str, &str)| {
            let count = word.strip_prefix(name)?.strip_prefix('=')?;
            count.parse().ok().filter(|count| *count > 0)
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let names = QUICKSTART.counts().map(|(name, _)| name);
        let counts: Option<Vec<usize>> = names
            .into_iter()
            .zip(words.iter().copied())
            .map(count)
            .collect();
        match counts.as_deref() {
            Some(&[embed, hidden, vocabulary, context]) if words.len() == 4 => Ok(Self {
                embed,
                hidden,
                vocabulary,
                context,
            }),
            _ => Err(format!("{text:?} is not a shape such as `{QUICKSTART}`")),
        }
    }
}
