//! How the config's sections are made: each key is declared once, with [`section!`], and everything else follows from it.
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
//! A section whose keys depend on one of them, its *tag* (`objective.name`), holds a field of a [`variants!`] enum: each variant is
//! a section of its own, and a key of another variant cannot be represented.

mod error;
mod value;

pub use error::ConfigError;
pub(crate) use error::{Unknown, at_least, impossible, positive, within};
use toml::{Table, Value as Toml};
pub use value::{Value, not_a_word};
pub(crate) use value::{or, text, words};

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

/// What was typed of a section. Implemented by [`section!`].
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

/// Declares a section; the form is in the module's documentation.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $vis:vis struct $name:ident from $draft:ident $(($($arg:ident: $arg_type:ty),+))? {
            $(
                $(#[doc = $doc:literal])*
                $field_vis:vis $field:ident: $head:ident $(<$of:ty>)? $(of $given:ty)? $(= $default:expr)? $(=> $rule:expr)?
            ),* $(,)?
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            $(
                $(#[doc = $doc])*
                $(#[doc = concat!("\n\nDefault: `", stringify!($default), "`.")])?
                $(#[doc = concat!("\n\nWhere it is not given: `", stringify!($rule), "`.")])?
                $field_vis $field: $head $(<$of>)?
            ),*
        }

        #[doc = concat!("What was given of a [`", stringify!($name), "`].")]
        #[derive(Clone, Debug, Default, PartialEq)]
        $vis struct $draft {
            $(
                $(#[doc = $doc])*
                $field_vis $field: $crate::section::section!(@given $head $(<$of>)? $(of $given)?)
            ),*
        }

        impl $draft {
            /// The whole section: what was given, and by the keys' defaults and rules what was not.
            ///
            /// # Errors
            /// A key that must be given is not, or a value is impossible.
            $vis fn complete(self $($(, $arg: $arg_type)+)?) -> Result<$name, $crate::section::ConfigError> {
                $($crate::section::section!(
                    @complete self $field $head $(<$of>)? $(of $given)? $(= $default)? $(=> $rule)?
                );)*
                let section = $name { $($field),* };
                $crate::section::Check::check(&section)?;
                Ok(section)
            }
        }

        impl $crate::section::Section for $draft {
            const ABOUT: &'static str = concat!($($about, "\n"),*);

            fn take_keys(table: &mut toml::Table) -> Result<Self, $crate::section::ConfigError> {
                let _ = &table;
                Ok(Self { $($field: $crate::section::Slot::take(table, stringify!($field))?),* })
            }

            fn put_keys(&self, table: &mut toml::Table) {
                let _ = &table;
                $($crate::section::Slot::put(&self.$field, table, stringify!($field));)*
            }

            fn keys() -> Vec<$crate::section::Key> {
                #[allow(unused_mut)] // a variant may have no keys of its own
                let mut keys = Vec::new();
                $(
                    let key = $crate::section::Key {
                        path: stringify!($field).to_owned(),
                        of: Vec::new(),
                        wants: String::new(),
                        doc: concat!($($doc, "\n"),*).trim().to_owned(),
                        default: $crate::section::section!(@default $head $(<$of>)? $(= $default)? $(=> $rule)?),
                    };
                    keys.extend(
                        <$crate::section::section!(@given $head $(<$of>)? $(of $given)?) as $crate::section::Slot>::keys_at(key),
                    );
                )*
                keys
            }

            fn kind(&self) -> Vec<(&'static str, &'static str)> {
                #[allow(unused_mut)]
                let mut kind = Vec::new();
                $(kind.extend($crate::section::Slot::kind(&self.$field));)*
                kind
            }
        }

        impl $crate::section::Known<$draft> for $name {
            fn known(&self) -> $draft {
                $draft { $($field: $crate::section::Known::known(&self.$field)),* }
            }
        }
    };

    // The type of a draft's field.
    (@given $head:ident $(<$of:ty>)? of $given:ty) => { $given };
    (@given Option<$of:ty>) => { Option<$of> };
    (@given $head:ident $(<$of:ty>)?) => { Option<$head $(<$of>)?> };

    // What a key is when it is not given, for people.
    (@default $head:ident $(<$of:ty>)? = $default:expr) => {
        Some(<$head $(<$of>)? as $crate::section::Value>::write(&$default).to_string())
    };
    (@default $head:ident $(<$of:ty>)? => $rule:expr) => { Some(stringify!($rule).to_owned()) };
    (@default $head:ident $(<$of:ty>)?) => { None };

    // One field of the complete section, in a variable of its name.
    (@complete $me:ident $field:ident $head:ident $(<$of:ty>)? of $given:ty => $rule:expr) => {
        let $field = $me.$field;
        let $field = $rule.map_err(|error| <$given as $crate::section::Slot>::under(error, stringify!($field)))?;
    };
    (@complete $me:ident $field:ident Option<$of:ty>) => {
        let $field = $me.$field.map($crate::section::Value::settled);
    };
    (@complete $me:ident $field:ident Option<$of:ty> => $rule:expr) => {
        let $field = match $me.$field {
            Some(given) => Some($crate::section::Value::settled(given)),
            None => $rule,
        };
    };
    (@complete $me:ident $field:ident $head:ident $(<$of:ty>)? $(= $default:expr)? $(=> $rule:expr)?) => {
        let $field: $head $(<$of>)? = match $me.$field {
            Some(given) => $crate::section::Value::settled(given),
            None => { $($default)? $($rule)? }
        };
    };
}
pub(crate) use section;

/// Declares the variants of a section that has a tag, each of them a section:
///
/// ```text
/// variants! {
///     /// `"gcpo"` or `"grpo"`. Source: …
///     pub enum Kind from KindDraft by name = "gcpo" (context: &Context) {
///         /// Group Causal Policy Optimization.
///         Gcpo = "gcpo" of GcpoDraft(context),
///         /// Group Relative Policy Optimization.
///         Grpo = "grpo" of GrpoDraft(),
///     }
/// }
/// ```
///
/// Without `= "gcpo"` the tag must be given.
macro_rules! variants {
    (
        $(#[doc = $about:literal])*
        $vis:vis enum $name:ident from $draft:ident by $tag:ident $(= $default:literal)? $(($($arg:ident: $arg_type:ty),+))? {
            $(#[doc = $first_doc:literal])*
            $first:ident = $first_word:literal of $first_draft:ident ($($first_with:expr),*),
            $(
                $(#[doc = $doc:literal])*
                $variant:ident = $word:literal of $variant_draft:ident ($($with:expr),*)
            ),* $(,)?
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq)]
        $vis enum $name {
            $(#[doc = $first_doc])*
            $first($first),
            $(
                $(#[doc = $doc])*
                $variant($variant)
            ),*
        }

        #[doc = concat!("What was given of a [`", stringify!($name), "`].")]
        #[derive(Clone, Debug, PartialEq)]
        $vis enum $draft {
            $(#[doc = $first_doc])*
            $first($first_draft),
            $(
                $(#[doc = $doc])*
                $variant($variant_draft)
            ),*
        }

        impl $name {
            /// All words of the tag.
            $vis const NAMES: &[&str] = &[$first_word $(, $word)*];

            /// The word of the tag.
            $vis fn name(&self) -> &'static str {
                match self {
                    Self::$first(_) => $first_word,
                    $(Self::$variant(_) => $word),*
                }
            }
        }

        impl Default for $draft {
            fn default() -> Self {
                Self::$first(Default::default())
            }
        }

        impl $draft {
            /// The word of the tag.
            $vis fn name(&self) -> &'static str {
                match self {
                    Self::$first(_) => $first_word,
                    $(Self::$variant(_) => $word),*
                }
            }

            /// The whole of it.
            ///
            /// # Errors
            /// A key that must be given is not, or a value is impossible.
            $vis fn complete(self $($(, $arg: $arg_type)+)?) -> Result<$name, $crate::section::ConfigError> {
                Ok(match self {
                    Self::$first(draft) => $name::$first(draft.complete($($first_with),*)?),
                    $(Self::$variant(draft) => $name::$variant(draft.complete($($with),*)?)),*
                })
            }
        }

        /// The variant of this name, with nothing else given.
        impl std::str::FromStr for $draft {
            type Err = String;

            fn from_str(name: &str) -> Result<Self, String> {
                match name {
                    $first_word => Ok(Self::$first(Default::default())),
                    $($word => Ok(Self::$variant(Default::default())),)*
                    _ => Err(format!("expected one of `{}`", $name::NAMES.join("`, `"))),
                }
            }
        }

        impl $crate::section::Slot for $draft {
            const SPREAD: bool = true;

            fn take(table: &mut toml::Table, _: &'static str) -> Result<Self, $crate::section::ConfigError> {
                let tag = stringify!($tag);
                let word = <Option<String> as $crate::section::Slot>::take(table, tag)? $(.or_else(|| Some($default.to_owned())))?;
                let Some(word) = word else {
                    return $crate::section::required(tag, concat!("add `", stringify!($tag), " = …`"));
                };
                Ok(match word.as_str() {
                    $first_word => Self::$first($crate::section::Section::take_keys(table)?),
                    $($word => Self::$variant($crate::section::Section::take_keys(table)?),)*
                    _ => return Err($crate::section::not_a_word(&word, $name::NAMES).under(tag)),
                })
            }

            fn put(&self, table: &mut toml::Table, _: &'static str) {
                table.insert(stringify!($tag).to_owned(), self.name().into());
                match self {
                    Self::$first(draft) => $crate::section::Section::put_keys(draft, table),
                    $(Self::$variant(draft) => $crate::section::Section::put_keys(draft, table)),*
                }
            }

            fn keys_at(key: $crate::section::Key) -> Vec<$crate::section::Key> {
                let mut keys = vec![$crate::section::Key {
                    path: stringify!($tag).to_owned(),
                    wants: <String as $crate::section::Value>::wants(),
                    doc: concat!($($about, "\n"),*).trim().to_owned(),
                    default: None $(.or(Some(concat!("\"", $default, "\"").to_owned())))?,
                    ..key
                }];
                let mut add = |word: &'static str, of: Vec<$crate::section::Key>| {
                    keys.extend(of.into_iter().map(|mut key| {
                        key.of.insert(0, (stringify!($tag), word));
                        key
                    }));
                };
                add($first_word, <$first_draft as $crate::section::Section>::keys());
                $(add($word, <$variant_draft as $crate::section::Section>::keys());)*
                keys
            }

            fn kind(&self) -> Vec<(&'static str, &'static str)> {
                let mut inner = match self {
                    Self::$first(draft) => $crate::section::Section::kind(draft),
                    $(Self::$variant(draft) => $crate::section::Section::kind(draft)),*
                };
                inner.insert(0, (stringify!($tag), self.name()));
                inner
            }
        }

        impl $crate::section::Known<$draft> for $name {
            fn known(&self) -> $draft {
                match self {
                    Self::$first(section) => $draft::$first($crate::section::Known::known(section)),
                    $(Self::$variant(section) => $draft::$variant($crate::section::Known::known(section))),*
                }
            }
        }
    };
}
pub(crate) use variants;

#[cfg(test)]
mod tests;
