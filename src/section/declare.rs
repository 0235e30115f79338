//! `section!` and `variants!`: from one declaration of each key to the complete section, its draft, and the list of its keys.

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
    (@default $head:ident $(<$of:ty>)? = $default:expr) => {{
        let default: $head $(<$of>)? = $default;
        Some($crate::section::shown(&default))
    }};
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
        #[allow(clippy::large_enum_variant)] // a run has few
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
        #[allow(clippy::large_enum_variant)] // a run has few
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
                    _ => Err(format!("there is no `{name}`; expected one of `{}`", $name::NAMES.join("`, `"))),
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
                    wants: $crate::section::or($name::NAMES),
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
