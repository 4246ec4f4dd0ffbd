//! The interface of a kind of data: its keys in a file, the files that it reads, its documents and questions.

use std::path::Path;

use figment::value::Value;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Corpus;
use super::checksum::SourceFile;
use super::invented::{Known, NameParts};
use crate::error::{Error, Result};
use crate::kinds::{BrokenRule, Entry, Kinded, TableKind};

/// A kind of data. Its fields are the keys that `[data]` takes beside `kind`. `resolved.toml` has
/// only those that are given.
pub trait DataSource: DeserializeOwned + Serialize + JsonSchema {
    /// Its name in an experiment file.
    const NAME: &'static str;
    /// A description for the manual.
    const ABOUT: &'static str;
    /// The files that it reads.
    const FILES: &'static [SourceFile] = &[];

    /// Its documents and questions. `directory` is the folder of fetched files (`--data`).
    fn open(&self, directory: Option<&Path>) -> Result<Corpus>;

    /// What it has, as far as its keys say.
    fn offers(&self) -> Offers {
        Offers {
            documents: true,
            questions: true,
            ..Offers::NOTHING
        }
    }

    /// The rules that its keys break.
    fn check(&self) -> Vec<BrokenRule> {
        vec![]
    }

    /// Given and family names from which names of invented people are made.
    fn invented_name_parts(known: &Known<'_>) -> NameParts {
        known.parts()
    }
}

/// The parts that data may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offers {
    /// Documents to pretrain on.
    pub documents: bool,
    /// Documents that are kept out of pretraining.
    pub held_out: bool,
    /// Questions with answers.
    pub questions: bool,
    /// The examples of a made task.
    pub examples: bool,
}

impl Offers {
    pub const NOTHING: Self = Self {
        documents: false,
        held_out: false,
        questions: false,
        examples: false,
    };

    pub const EVERYTHING: Self = Self {
        documents: true,
        held_out: true,
        questions: true,
        examples: true,
    };
}

/// A kind of data, as an entry of [`KINDS`](super::KINDS).
pub struct DataKind {
    entry: Entry,
    /// The files that it reads.
    pub files: &'static [SourceFile],
    pub invented_name_parts: fn(&Known<'_>) -> NameParts,
    open: fn(&Value, Option<&Path>) -> Result<Corpus>,
    check: fn(&Value) -> Vec<BrokenRule>,
    offers: fn(&Value) -> Offers,
}

impl DataKind {
    pub const fn of<S: DataSource>() -> Self {
        Self {
            entry: Entry::of::<S>(S::NAME, S::ABOUT),
            files: S::FILES,
            invented_name_parts: S::invented_name_parts,
            open: |own, directory| {
                let source = S::deserialize(own).map_err(|e| Error::config(e.to_string()))?;
                source.open(directory)
            },
            // Keys that cannot be read are reported by the schema.
            offers: |own| S::deserialize(own).map_or(Offers::EVERYTHING, |source| source.offers()),
            check: |own| S::deserialize(own).map_or(vec![], |source| source.check()),
        }
    }
}

impl TableKind for DataKind {
    const TABLE: &'static str = "Where the documents and questions come from.";
    const CHOOSES: &'static str = "Which data.";

    fn kinds() -> &'static [Self] {
        &super::KINDS
    }

    fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl Kinded<DataKind> {
    /// See [`DataSource::open`]; the default of `directory` is that of [`cs224n::locate`](super::cs224n::locate).
    pub fn open(&self, directory: Option<&Path>) -> Result<Corpus> {
        (self.kind.open)(&self.own, directory)
    }

    /// What it has, as far as its keys say. Keys that cannot be read are reported elsewhere; nothing else is wrong then.
    pub fn offers(&self) -> Offers {
        (self.kind.offers)(&self.own)
    }

    /// The rules that its keys break; empty if they cannot be read.
    pub fn check(&self) -> Vec<BrokenRule> {
        (self.kind.check)(&self.own)
    }
}
