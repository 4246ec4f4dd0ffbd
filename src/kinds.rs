//! Experiment-file tables in which one key determines the other keys: `[data]` and `[figures.NAME]` with their
//! `kind`, `[explore]` with its `question`.
//!
//! `[model.attention]` lists its kinds in the same way, but all kinds share one struct: see `config::schema::attention`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::LazyLock;

use figment::value::{Dict, Value};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, DeserializeOwned, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value as Json, json};

/// An entry of a fixed list, selected in an experiment file by its name.
pub trait Listed: Sized + 'static {
    /// All entries, in the order in which they are listed.
    fn all() -> &'static [Self];

    /// Its name in an experiment file.
    fn name(&self) -> &'static str;

    /// A one-sentence description.
    fn about(&self) -> &'static str;

    /// Other words by which people know it; a file that has one is told the name.
    fn other_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// The entry of that name.
    fn named(name: &str) -> Option<&'static Self> {
        Self::all().iter().find(|one| one.name() == name)
    }

    /// All names.
    fn names() -> Vec<&'static str> {
        Self::all().iter().map(Self::name).collect()
    }

    /// The names with what they mean, for the schema.
    fn schema() -> Vec<Json> {
        let one = |one: &Self| {
            json!({
                "const": one.name(),
                "description": one.about(),
                OTHER_NAMES: one.other_names(),
            })
        };
        Self::all().iter().map(one).collect()
    }
}

/// In a schema, beside a name: see [`Listed::other_names`]. Not exported.
pub const OTHER_NAMES: &str = "other_names";

/// In the schema of a table: the key that selects its kind, and what each kind `takes` and `requires` of the
/// keys that not all kinds have, with the reasons why it `lacks` others where they are known. Not exported.
pub const KINDS: &str = "kinds";

/// The key of the title of a table with a kind.
pub const TITLE: &str = "title";

/// The possible kinds of a table.
pub trait TableKind: Sized + 'static {
    /// What the table is, for the schema.
    const TABLE: &'static str;
    /// The key that selects the kind.
    const KEY: &'static str = "kind";
    /// A description of that key, for the schema.
    const CHOOSES: &'static str;
    /// Whether every key of a kind is required; the values are then converted to the types of the fields.
    const IS_COMPLETE: bool = false;
    /// A description of the key `title`, if every kind accepts it.
    const TITLE: Option<&'static str> = None;

    /// All kinds, in the order in which they are listed.
    fn kinds() -> &'static [Self];

    /// Its entry in that list.
    fn entry(&self) -> &Entry;

    /// Whether it has the key `key`.
    fn has(&self, key: &str) -> bool {
        self.entry().keys().contains_key(key)
    }

    /// The defaults of a key that the kinds do not share: ``4 of `"a"`, otherwise 5``.
    fn different_defaults(key: &str) -> Option<String> {
        let mut kinds_of: Vec<(Json, Vec<&str>)> = vec![];
        for kind in Self::kinds() {
            let default = kind
                .entry()
                .keys()
                .get(key)
                .and_then(|schema| schema.get("default"));
            let Some(default) = default else { continue };
            match kinds_of.iter_mut().find(|(value, _)| value == default) {
                Some((_, kinds)) => kinds.push(kind.entry().name),
                None => kinds_of.push((default.clone(), vec![kind.entry().name])),
            }
        }
        // The last of the most frequent.
        let most = (0..kinds_of.len()).max_by_key(|&one| kinds_of[one].1.len())?;
        let (commonest, _) = kinds_of.remove(most);
        let of_kinds = |(value, kinds): (Json, Vec<&str>)| format!("{value} of {}", quoted(&kinds));
        let others: Vec<String> = kinds_of.into_iter().map(of_kinds).collect();
        let any = !others.is_empty();
        any.then(|| format!("{}, otherwise {commonest}", others.join(", ")))
    }

    /// The names of the kinds that have the key `key`.
    fn with(key: &str) -> Vec<&'static str> {
        let having = Self::kinds().iter().filter(|kind| kind.has(key));
        having.map(|kind| kind.entry().name).collect()
    }
}

impl<K: TableKind> Listed for K {
    fn all() -> &'static [Self] {
        Self::kinds()
    }

    fn name(&self) -> &'static str {
        self.entry().name
    }

    fn about(&self) -> &'static str {
        self.entry().about
    }
}

/// A kind of a table: its name, a description, and the keys specific to it, which are the fields of a type.
pub struct Entry {
    name: &'static str,
    about: &'static str,
    /// The schema of its keys; made when it is first needed.
    schema: LazyLock<Json>,
    /// The parsed keys, with defaults filled in.
    read: fn(&Value) -> Result<Value, Box<figment::Error>>,
}

impl Entry {
    /// The kind whose keys are the fields of `T`.
    pub const fn of<T: DeserializeOwned + Serialize + JsonSchema>(
        name: &'static str,
        about: &'static str,
    ) -> Self {
        Self {
            name,
            about,
            schema: LazyLock::new(schema::<T>),
            read: |own| Ok(Value::serialize(T::deserialize(own)?)?),
        }
    }

    /// Its name, and the keys that it takes and requires.
    fn own(&self) -> (String, Json) {
        let takes: Vec<&String> = self.keys().keys().collect();
        let own = json!({"takes": takes, "requires": self.schema["required"]});
        (self.name.to_owned(), own)
    }

    /// Whether the key `key` has to be given.
    fn requires(&self, key: &str) -> bool {
        let required = self.schema["required"].as_array();
        required.is_some_and(|keys| keys.iter().any(|one| one == key))
    }

    /// The schema of each key, in the order of the fields.
    fn keys(&self) -> &Map<String, Json> {
        static NONE: LazyLock<Map<String, Json>> = LazyLock::new(Map::new);
        self.schema["properties"].as_object().unwrap_or(&NONE)
    }
}

/// The schema of a table, with everything written out in place.
pub fn schema<T: JsonSchema>() -> Json {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    T::json_schema(&mut settings.into_generator()).to_value()
}

/// A table with its kind. Deserialising accepts any keys: the valid ones depend on the kind, which may come last.
pub struct Kinded<K: TableKind> {
    /// Its kind.
    pub kind: &'static K,
    /// The title, if it is given.
    pub title: Option<String>,
    /// The kind-specific keys as they are written, a table.
    pub own: Value,
}

impl<K: TableKind> Clone for Kinded<K> {
    fn clone(&self) -> Self {
        Self {
            kind: self.kind,
            title: self.title.clone(),
            own: self.own.clone(),
        }
    }
}

impl<K: TableKind> PartialEq for Kinded<K> {
    fn eq(&self, other: &Self) -> bool {
        let is_same_kind = self.kind.name() == other.kind.name();
        is_same_kind && self.title == other.title && self.own == other.own
    }
}

impl<K: TableKind> fmt::Debug for Kinded<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?}", self.kind.name(), self.title, self.own)
    }
}

#[cfg(test)]
impl<K: TableKind> Kinded<K> {
    /// An integer among the kind-specific keys.
    pub fn number(&self, key: &str) -> Option<i128> {
        self.own.find_ref(key)?.to_i128()
    }

    /// Sets a kind-specific key.
    pub fn set(&mut self, key: &str, value: i64) {
        let mut own = self.own.clone().into_dict().expect("a table");
        own.insert(key.to_owned(), Value::from(value));
        self.own = Value::from(own);
    }
}

/// A rule that a key breaks.
pub struct BrokenRule {
    /// The key.
    pub key: &'static str,
    /// Other keys of the table that the rule reads.
    pub reads: &'static [&'static str],
    /// What is wrong with it, phrased to follow the key and a space.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl BrokenRule {
    /// A rule without a help line.
    pub fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self {
            key,
            reads: &[],
            message: message.into(),
            help: None,
        }
    }
}

/// An entry of a list, written as its name.
pub struct Named<T: Listed>(pub &'static T);

#[cfg(test)]
impl<T: Listed> Named<T> {
    /// The entry of that name, which is there.
    pub fn of(name: &str) -> Self {
        Self(T::named(name).expect("it is listed"))
    }
}

impl<T: Listed> Clone for Named<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Listed> Copy for Named<T> {}

impl<T: Listed> PartialEq for Named<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl<T: Listed> fmt::Debug for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl<'de, T: Listed> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        // serde requires `'static` names: each unknown name leaks one short list.
        let unknown = || de::Error::unknown_variant(&name, T::names().leak());
        T::named(&name).map(Self).ok_or_else(unknown)
    }
}

impl<T: Listed> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<T: Listed> JsonSchema for Named<T> {
    fn schema_name() -> Cow<'static, str> {
        std::any::type_name::<T>().into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"oneOf": T::schema()})
    }
}

impl<'de, K: TableKind> Deserialize<'de> for Kinded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table<K>(PhantomData<K>);
        impl<'de, K: TableKind> Visitor<'de> for Table<K> {
            type Value = Kinded<K>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut keys: A) -> Result<Self::Value, A::Error> {
                let (mut kind, mut title, mut own) = (None, None, Dict::new());
                while let Some(key) = keys.next_key::<String>()? {
                    if key == K::KEY {
                        kind = Some(keys.next_value::<Named<K>>()?.0);
                    } else if key == TITLE && K::TITLE.is_some() {
                        title = Some(keys.next_value()?);
                    } else {
                        own.insert(key, keys.next_value()?);
                    }
                }
                let kind = kind.ok_or_else(|| de::Error::missing_field(K::KEY))?;
                let own = Value::from(own);
                let typed = K::IS_COMPLETE.then(|| (kind.entry().read)(&own).ok());
                let own = typed.flatten().unwrap_or(own);
                Ok(Kinded { kind, title, own })
            }
        }
        deserializer.deserialize_map(Table(PhantomData))
    }
}

/// The keys in the order of the schema.
impl<K: TableKind> Serialize for Kinded<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut keys = serializer.serialize_map(None)?;
        keys.serialize_entry(K::KEY, self.kind.name())?;
        if let Some(title) = &self.title {
            keys.serialize_entry(TITLE, title)?;
        }
        let schemas = self.kind.entry().keys();
        let own = self.own.as_dict().into_iter().flatten();
        let mut own: Vec<(&String, &Value)> = own.collect();
        own.sort_by_key(|(key, _)| schemas.keys().position(|known| known == *key));
        for (key, value) in own {
            keys.serialize_entry(key, value)?;
        }
        keys.end()
    }
}

/// The keys of all kinds, each with the kinds that have it.
impl<K: TableKind> JsonSchema for Kinded<K> {
    fn schema_name() -> Cow<'static, str> {
        std::any::type_name::<K>().into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let (mut keys, mut required) = (Map::new(), vec![K::KEY.to_owned()]);
        let kind = json!({"description": K::CHOOSES, "oneOf": K::schema()});
        keys.insert(K::KEY.to_owned(), kind);
        if let Some(about) = K::TITLE {
            let text = json!({"description": about, "type": "string", "pattern": r"\S"});
            keys.insert(TITLE.to_owned(), text);
        }
        let own = K::kinds().iter().flat_map(|kind| kind.entry().keys());
        for (key, schema) in own {
            if keys.contains_key(key) {
                continue;
            }
            let (mut schema, of) = (schema.clone(), K::with(key));
            let about = schema["description"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if let Some(defaults) = K::different_defaults(key) {
                schema["description"] = format!("{about} Default: {defaults}.").into();
                schema.as_object_mut().into_iter().for_each(|schema| {
                    schema.remove("default");
                });
            }
            let is_required = |kind: &K| K::IS_COMPLETE || kind.entry().requires(key);
            if of.len() < K::kinds().len() {
                let of = of_some::<K>(&of);
                let about = uncapitalised(schema["description"].as_str().unwrap_or_default());
                let having = K::kinds().iter().filter(|kind| kind.has(key));
                let there = match having.clone().all(is_required) {
                    true => " Default: required there.",
                    false => "",
                };
                schema["description"] = format!("{of}: {about}{there}").into();
            } else if K::IS_COMPLETE {
                required.push(key.clone());
            }
            keys.insert(key.clone(), schema);
        }
        let kinds = kinds(K::KEY, K::kinds().iter().map(|kind| kind.entry().own()));
        json_schema!({
            "description": K::TABLE,
            "type": "object",
            "properties": keys,
            "required": required,
            "additionalProperties": false,
            KINDS: kinds,
        })
    }
}

/// What [`KINDS`] says: the key that selects a kind, and the kinds with their own keys.
pub fn kinds(key: &str, kinds: impl Iterator<Item = (String, Json)>) -> Json {
    json!({"key": key, "of": kinds.collect::<Map<_, _>>()})
}

/// `a, b and c`, with `and` as the conjunction.
pub fn joined(words: impl IntoIterator<Item: ToString>, conjunction: &str) -> String {
    let words: Vec<String> = words.into_iter().map(|word| word.to_string()).collect();
    match &words[..] {
        [first @ .., last] if !first.is_empty() => {
            format!("{} {conjunction} {last}", first.join(", "))
        }
        words => words.concat(),
    }
}

/// Names in code: ``"a"` and `"b"``.
fn quoted(names: &[&str]) -> String {
    joined(names.iter().map(|name| format!("`{name:?}`")), "and")
}

/// Some of the kinds, by the shorter list: those, or all but the others.
fn of_some<K: TableKind>(names: &[&'static str]) -> String {
    let others: Vec<&str> = K::names()
        .into_iter()
        .filter(|name| !names.contains(name))
        .collect();
    match others.len() < names.len() {
        true => format!("all but {}", quoted(&others)),
        false => format!("{} only", quoted(names)),
    }
}

fn uncapitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_lowercase);
    first.chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DataKind;
    use crate::explore::QuestionKind;
    use crate::plot::FigureKind;

    /// A key is listed once, with one range: it must mean the same in all kinds that have it, though its default may differ.
    fn check_shared_keys<K: TableKind>() {
        let mut seen: Map<String, Json> = Map::new();
        for kind in K::kinds() {
            for (key, schema) in kind.entry().keys() {
                let mut schema = schema.clone();
                schema.as_object_mut().expect("a schema").remove("default");
                let first = seen.entry(key.clone()).or_insert_with(|| schema.clone());
                assert_eq!(*first, schema, "`{key}` of {}", kind.name());
            }
        }
        assert!(!seen.is_empty());
    }

    #[test]
    fn a_key_that_several_kinds_have_is_the_same_in_all_of_them() {
        check_shared_keys::<DataKind>();
        check_shared_keys::<FigureKind>();
        check_shared_keys::<QuestionKind>();
    }
}
