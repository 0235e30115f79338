//! How the config's sections are made: each key is declared once, with `section!`, and everything else follows from it.
//!
//! ```text
//! section! {
//!     /// `[projection]`: what the section is about.
//!     pub struct Projection from ProjectionDraft(rollout: &Rollout) {
//!         /// What the key does. Source: where its default comes from.
//!         pub floor: f64 = 1e-6,
//!         /// A value that follows from another one, where it is not given. Source: …
//!         pub integrations: usize => rollout.num_generations,
//!         /// Its absence means something. Source: …
//!         pub path: Option<PathBuf>,
//!         /// A section in the section: what is given of it, and what it becomes.
//!         pub shape: Shape of ShapeDraft => shape.complete(),
//!     }
//! }
//! ```
//!
//! makes
//! * `Projection`, the complete section, whose fields are as declared: what a room's functions take;
//! * `ProjectionDraft`, what was typed of it: every field an `Option`, edited by the commands;
//! * `ProjectionDraft::complete(rollout)`, which fills in what is not given, in the order of the declaration (a rule after
//!   `=>` sees the fields above it, and what is in the parentheses), and then asks [`Check::check`];
//! * reading, writing and the list of its keys ([`Section`]), from which `docs/config.md` and "did you mean" are made.
//!
//! A section whose keys depend on one of them, its *tag* (`objective.name`), holds a field of a `variants!` enum: each variant is
//! a section of its own, and a key of another variant cannot be represented.

mod arguments;
mod declare;
mod error;
mod value;

pub use arguments::Arguments;
pub(crate) use declare::{section, variants};
pub use error::ConfigError;
pub(crate) use error::{MANY, ROWS, Unknown, at_least, count, impossible, positive, within};
use toml::{Table, Value as Toml};
pub use value::{Value, not_a_word};
pub(crate) use value::{Word, of_words, or, read_word, shown, text, words};

/// A key of the config, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its dotted path. `N` is the number of an entry in a list.
    pub path: String,
    /// Keys and their words that it belongs to: `[("name", "gcpo")]`.
    pub of: Vec<(&'static str, &'static str)>,
    /// What it takes.
    pub wants: String,
    /// What it does, and where its default comes from.
    pub doc: String,
    /// What it is when it is not given: a value, or what it follows from.
    pub default: Option<String>,
}

impl Key {
    /// The last part of its path.
    pub fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }

    /// Whether it is the header of a section, or of a list of sections.
    pub fn is_section(&self) -> bool {
        self.wants.contains("section")
    }

    fn below(mut self, path: &str) -> Self {
        self.path = format!("{path}.{}", self.path);
        self
    }
}

/// What must hold of a complete section by itself.
pub trait Check {
    /// Looks for values that are impossible in themselves or beside another one of the section.
    ///
    /// # Errors
    /// The first such value, by its key.
    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

/// What was typed of a section. Implemented by `section!`.
pub trait Section: Default {
    /// What the section is about.
    const ABOUT: &'static str;

    /// Takes the keys that it knows out of a table.
    ///
    /// # Errors
    /// A value cannot be what it is.
    fn take_keys(table: &mut Table) -> Result<Self, ConfigError>;

    /// Writes what was given into a table.
    fn put_keys(&self, table: &mut Table);

    /// All keys that it may have, in order.
    fn keys() -> Vec<Key>;

    /// The tags that it has, and their words.
    fn kind(&self) -> Vec<(&'static str, &'static str)>;
}

/// A field of a draft.
pub trait Slot: Default {
    /// Whether its keys are those of the section that it is in.
    const SPREAD: bool = false;

    /// Takes it out of a section's table.
    ///
    /// # Errors
    /// It cannot be what it is.
    fn take(table: &mut Table, key: &'static str) -> Result<Self, ConfigError>;

    /// Writes it into a section's table.
    fn put(&self, table: &mut Table, key: &'static str);

    /// The keys that it stands for, given what is known of the field.
    fn keys_at(key: Key) -> Vec<Key>;

    /// The tags that it brings.
    fn kind(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// An error in it, as one of the section.
    fn under(error: ConfigError, key: &str) -> ConfigError {
        if Self::SPREAD { error } else { error.under(key) }
    }
}

/// A value that may be given.
impl<T: Value> Slot for Option<T> {
    fn take(table: &mut Table, key: &'static str) -> Result<Self, ConfigError> {
        let value = table.remove(key).map(T::read).transpose();
        value.map_err(|error| error.under(key))
    }

    fn put(&self, table: &mut Table, key: &'static str) {
        if let Some(value) = self {
            table.insert(key.to_owned(), value.write());
        }
    }

    fn keys_at(key: Key) -> Vec<Key> {
        vec![Key {
            wants: T::wants(),
            ..key
        }]
    }
}

/// A section in a section.
impl<S: Section> Slot for S {
    fn take(table: &mut Table, key: &'static str) -> Result<Self, ConfigError> {
        Ok(<Option<S> as Slot>::take(table, key)?.unwrap_or_default())
    }

    fn put(&self, table: &mut Table, key: &'static str) {
        let mut keys = Table::new();
        self.put_keys(&mut keys);
        if !keys.is_empty() {
            table.insert(key.to_owned(), Toml::Table(keys));
        }
    }

    fn keys_at(key: Key) -> Vec<Key> {
        header::<S>(key, "a section of keys", "")
    }
}

/// A section that means something by being there, whatever is in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Maybe<S>(pub Option<S>);

impl<S> Maybe<S> {
    /// The section completed, if it is there.
    ///
    /// # Errors
    /// That of `complete`.
    pub fn complete<C>(
        self,
        complete: impl FnOnce(S) -> Result<C, ConfigError>,
    ) -> Result<Option<C>, ConfigError> {
        self.0.map(complete).transpose()
    }
}

impl<S: Section> Slot for Maybe<S> {
    fn take(table: &mut Table, key: &'static str) -> Result<Self, ConfigError> {
        <Option<S> as Slot>::take(table, key).map(Self)
    }

    fn put(&self, table: &mut Table, key: &'static str) {
        self.0.put(table, key);
    }

    fn keys_at(key: Key) -> Vec<Key> {
        S::keys_at(key)
    }
}

impl<C: Known<S>, S: Section> Known<Maybe<S>> for Option<C> {
    fn known(&self) -> Maybe<S> {
        Maybe(self.as_ref().map(Known::known))
    }
}

/// A list of sections, `[[reward]]`.
impl<S: Section> Slot for Vec<S> {
    fn take(table: &mut Table, key: &'static str) -> Result<Self, ConfigError> {
        let list = match table.remove(key) {
            None => return Ok(Self::new()),
            Some(Toml::Array(list)) => list,
            Some(_) => {
                let help = "write its header in double brackets, `[[ ]]`, once for each entry, and the entry's keys below";
                return Err(ConfigError::new("this is a list of sections")
                    .under(key)
                    .help(help));
            }
        };
        let entries = list.into_iter().enumerate().map(|(number, entry)| {
            S::read(entry).map_err(|error| error.under(&number.to_string()).under(key))
        });
        entries.collect()
    }

    fn put(&self, table: &mut Table, key: &'static str) {
        if !self.is_empty() {
            let list = self.iter().map(Value::write).collect();
            table.insert(key.to_owned(), Toml::Array(list));
        }
    }

    fn keys_at(key: Key) -> Vec<Key> {
        header::<S>(key, "a list of sections", ".N")
    }
}

/// The keys of a section that has a header, which comes first.
fn header<S: Section>(key: Key, wants: &str, entry: &str) -> Vec<Key> {
    let path = format!("{}{entry}", key.path);
    let header = Key {
        wants: wants.into(),
        doc: S::ABOUT.trim().to_owned(),
        ..key
    };
    let inner = S::keys().into_iter().map(|inner| inner.below(&path));
    std::iter::once(header).chain(inner).collect()
}

/// A whole section as a value; here a key that it does not know is refused.
impl<S: Section> Value for S {
    fn wants() -> String {
        "a section of keys".into()
    }

    fn read(value: Toml) -> Result<Self, ConfigError> {
        let Toml::Table(mut table) = value else {
            return Err(ConfigError::wrong_type(&value, &Self::wants()));
        };
        let section = S::take_keys(&mut table)?;
        match table.iter().next() {
            None => Ok(section),
            Some((key, value)) => Err(unknown(&section, key, value)),
        }
    }

    fn write(&self) -> Toml {
        let mut table = Table::new();
        self.put_keys(&mut table);
        Toml::Table(table)
    }
}

/// A key that the section does not know, or knows under another tag.
fn unknown<S: Section>(section: &S, key: &str, value: &Toml) -> ConfigError {
    let (keys, kind) = (S::keys(), section.kind());
    // Sections in this one are known by their first part.
    let first = |key: &Key| key.path.split('.').next().unwrap_or_default().to_owned();
    let is_here = |key: &&Key| key.of.iter().all(|of| kind.contains(of));
    let mut known: Vec<String> = keys.iter().filter(is_here).map(first).collect();
    known.dedup();
    let owners: Vec<String> = keys
        .iter()
        .filter(|of| of.path == key)
        .map(|of| title(&of.of))
        .collect();
    if owners.is_empty() {
        // The whole path, if this is the beginning of one: names of other programs are found by it.
        let mut leaf = key.to_owned();
        let mut at = value;
        while let Toml::Table(table) = at
            && let Some((key, value)) = table.iter().next()
        {
            leaf = format!("{leaf}.{key}");
            at = value;
        }
        return ConfigError::unknown(key, Unknown { leaf, known });
    }
    let (this, owners) = (title(&kind), owners.join(", "));
    ConfigError::new(format!("{this} has no such key; it belongs to {owners}"))
        .under(key)
        .help(format!("remove it; {this} takes {}", known.join(", ")))
}

/// `` `length` of style "cosine" ``
fn title(kind: &[(&str, &str)]) -> String {
    let mut words = kind.iter().map(|(tag, word)| (tag, word));
    let mut text = words
        .next()
        .map_or(String::new(), |(_, word)| format!("`{word}`"));
    for (tag, word) in words {
        text += &format!(" of {tag} \"{word}\"");
    }
    text
}

/// A value as a draft has it when it is known.
pub trait Known<D> {
    /// The draft that says it.
    fn known(&self) -> D;
}

impl<T: Value + Clone> Known<Option<T>> for T {
    fn known(&self) -> Option<T> {
        Some(self.clone())
    }
}

impl<T: Value + Clone> Known<Option<T>> for Option<T> {
    fn known(&self) -> Option<T> {
        self.clone()
    }
}

impl<C: Known<S>, S: Section> Known<S> for Option<C> {
    fn known(&self) -> S {
        self.as_ref().map(Known::known).unwrap_or_default()
    }
}

impl<C: Known<S>, S: Section> Known<Vec<S>> for Vec<C> {
    fn known(&self) -> Vec<S> {
        self.iter().map(Known::known).collect()
    }
}

/// A value that nothing but the user can decide: the rule of a key that must be given.
///
/// # Errors
/// Always.
pub fn required<T>(key: &str, help: &str) -> Result<T, ConfigError> {
    Err(ConfigError::new("it must be given").under(key).help(help))
}

/// Completes the entries of a list, each by `complete`.
///
/// # Errors
/// The first one's, by its number.
pub fn complete_all<D, C>(
    drafts: Vec<D>,
    complete: impl Fn(D) -> Result<C, ConfigError>,
) -> Result<Vec<C>, ConfigError> {
    let entries = drafts.into_iter().enumerate();
    entries
        .map(|(number, draft)| complete(draft).map_err(|error| error.under(&number.to_string())))
        .collect()
}

#[cfg(test)]
mod tests;
