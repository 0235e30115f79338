//! How a command line is read, and the options of every command.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, ColorChoice, CommandFactory as _, FromArgMatches as _, ValueEnum};

use super::Cli;

impl Cli {
    /// What arguments mean, the program's name first.
    ///
    /// # Errors
    /// clap's message, or that options of the quickstart stand before a command.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let color = When::of_arguments(arguments.iter().skip(1));
        let mut command = Self::command().color(color.into());
        let matches = command.clone().try_get_matches_from(arguments)?;
        let Some((name, _)) = matches.subcommand() else {
            return Self::from_arg_matches(&matches);
        };
        let is_typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let own = command
            .get_arguments()
            .filter(|argument| !argument.is_global_set())
            .find(|argument| is_typed(argument.get_id().as_str()));
        match own.and_then(|argument| argument.get_long()) {
            Some(long) => {
                let what = format!(
                    "--{long} stands before `{name}`, where it is an option of the quickstart: write it behind `{name}`"
                );
                Err(command.error(ErrorKind::ArgumentConflict, what))
            }
            None => Self::from_arg_matches(&matches),
        }
    }
}

/// What is said on standard error, and how. Every command takes these.
#[derive(Debug, Clone, Default, Args)]
pub struct TalkArgs {
    /// Do not say how far it is: only what goes wrong, warnings, and what was asked for
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Say more of a run: each step with the time of its stages, and each checkpoint
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Colours: always, never, or auto: on a terminal, unless NO_COLOR, CLICOLOR=0 or TERM=dumb says otherwise
    #[arg(
        long,
        value_name = "WHEN",
        global = true,
        default_value = "auto",
        value_enum,
        hide_possible_values = true
    )]
    pub color: When,
}

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, as far as the environment does not say otherwise.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl When {
    /// What arguments say, before they are read: what is wrong with them is said in these colours, too.
    pub fn of_arguments<'a>(arguments: impl Iterator<Item = &'a OsString>) -> Self {
        let mut found = None;
        let mut follows = false;
        for argument in arguments.take_while(|argument| *argument != "--") {
            let text = argument.to_string_lossy();
            if follows {
                found = Some(text.clone().into_owned());
            }
            follows = text == "--color";
            found = text.strip_prefix("--color=").map(str::to_owned).or(found);
        }
        found
            .and_then(|text| Self::from_str(&text, false).ok())
            .unwrap_or_default()
    }

    /// Whether there are colours; none where a terminal and the environment decide.
    pub fn decided(self) -> Option<bool> {
        match self {
            Self::Auto => None,
            Self::Always => Some(true),
            Self::Never => Some(false),
        }
    }
}

impl From<When> for ColorChoice {
    fn from(when: When) -> Self {
        match when {
            When::Auto => Self::Auto,
            When::Always => Self::Always,
            When::Never => Self::Never,
        }
    }
}
