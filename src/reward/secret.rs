//! Whether the arguments of a program hold a secret. They are written to the run's `config.toml` and to evaluations, and every
//! user of the machine sees them in the list of processes; an environment variable is in none of these.

use crate::section::{ConfigError, impossible};

/// Flags whose value is one.
const FLAGS: [&str; 21] = [
    "access-key",
    "access-token",
    "api-key",
    "api-token",
    "apikey",
    "auth-key",
    "auth-token",
    "bearer",
    "client-secret",
    "credentials",
    "gh-token",
    "github-token",
    "hf-token",
    "hub-token",
    "openai-key",
    "passphrase",
    "passwd",
    "password",
    "private-key",
    "secret",
    "token",
];

/// How names of variables end that hold one.
const NAMES: [&str; 7] = [
    "KEY",
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIALS",
];

/// How keys of well-known services begin.
const PREFIXES: [&str; 17] = [
    "sk-",
    "sk_live_",
    "rk_live_",
    "hf_",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "AIza",
    "nvapi-",
    "gsk_",
    "r8_",
    "eyJ",
];

/// The first argument that looks like a secret: its number, from 1, and by what, without the secret.
pub fn find(arguments: &[String]) -> Option<(usize, String)> {
    // A line for a shell is several.
    let pieces = |(number, argument): (usize, &String)| -> Vec<(usize, String)> {
        let plain = |piece: &str| piece.trim_matches(['"', '\'', ';']).to_owned();
        argument
            .split_whitespace()
            .map(|piece| (number + 1, plain(piece)))
            .collect()
    };
    let pieces: Vec<(usize, String)> = arguments.iter().enumerate().flat_map(pieces).collect();
    pieces.iter().enumerate().find_map(|(at, (number, piece))| {
        let next = pieces.get(at + 1).map(|(_, next)| next.as_str());
        by(piece, next).map(|by| (*number, by))
    })
}

/// By what a piece, or the one behind it, looks like a secret.
fn by(piece: &str, next: Option<&str>) -> Option<String> {
    if let Some(flag) = piece.strip_prefix("--") {
        let (flag, value) = flag
            .split_once('=')
            .map_or((flag, next), |(flag, value)| (flag, Some(value)));
        let name = flag.to_ascii_lowercase().replace('_', "-");
        if FLAGS.contains(&name.as_str()) && value.is_some_and(is_given) {
            return Some(format!("`--{flag}`"));
        }
    }
    if let Some((name, value)) = piece.split_once('=') {
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if name.chars().all(is_name) && NAMES.iter().any(|end| name.ends_with(end)) && is_given(value) {
            return Some(format!("`{name}=`"));
        }
        if let Some(by) = by(value, None) {
            return Some(by);
        }
    }
    if let Some(prefix) = PREFIXES.iter().find(|prefix| piece.starts_with(**prefix))
        && is_random(piece)
    {
        return Some(format!("`{prefix}…`"));
    }
    let user = piece
        .split_once("://")
        .and_then(|(_, rest)| rest.split('/').next()?.rsplit_once('@'));
    let password = user.and_then(|(user, _)| user.split_once(':'));
    password
        .filter(|(_, password)| is_given(password))
        .map(|_| "a password in an address".to_owned())
}

/// Whether a value stands there, and not where to find one: a path, a variable that a shell fills in, another flag.
fn is_given(value: &str) -> bool {
    !value.is_empty() && !value.starts_with(['$', '/', '.', '~', '-', '@'])
}

/// Whether a word is long and mixed, as nobody names a thing.
fn is_random(word: &str) -> bool {
    let has = |what: fn(&char) -> bool| word.chars().any(|c| what(&c));
    word.len() >= 20
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && has(char::is_ascii_digit)
        && (has(char::is_ascii_uppercase) || word.len() >= 32)
}

/// The name in an argument that is nothing but `$NAME` or `${NAME}`, perhaps behind `--flag=`.
pub fn variable(argument: &str) -> Option<&str> {
    let value = match argument.split_once('=') {
        Some((flag, value)) if flag.starts_with('-') => value,
        _ => argument,
    };
    let name = value.strip_prefix('$')?;
    let name = name
        .strip_prefix('{')
        .map_or(Some(name), |name| name.strip_suffix('}'))?;
    is_name(name).then_some(name)
}

/// Whether an environment variable may be called so.
fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Refuses what is no name of an environment variable, without repeating it: it may be a value.
pub fn check_names(key: &str, names: &[String]) -> Result<(), ConfigError> {
    if names.iter().all(|name| is_name(name)) {
        return Ok(());
    }
    let what = "one of these is no name of an environment variable";
    let error = impossible(key, what, "give names only, such as `env = [\"API_KEY\"]`");
    error.map_err(ConfigError::unquoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_found_and_not_said() {
        let secret = "aB3dE5gH7jK9mN1pQ3sT";
        for (arguments, by) in [
            (&["r.py", "--api-key", "hunter2"][..], "`--api-key`"),
            (&["r.py", "--API_KEY=hunter2"], "`--API_KEY`"),
            (&["r.py", "--token", "hunter2"], "`--token`"),
            (&["r.py", &format!("sk-{secret}")], "`sk-…`"),
            (&["r.py", &format!("--auth=hf_{secret}")], "`hf_…`"),
            (&["OPENAI_API_KEY=hunter2", "python3"], "`OPENAI_API_KEY=`"),
            (&["-c", "DB_PASSWORD='hunter2' python3 r.py"], "`DB_PASSWORD=`"),
            (
                &["r.py", "https://me:hunter2@example.org/x"],
                "a password in an address",
            ),
        ] {
            let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
            let (_, found) = find(&arguments).unwrap_or_else(|| panic!("{arguments:?}"));
            assert_eq!(found, by);
        }
    }

    #[test]
    fn other_arguments_are_left_alone() {
        for arguments in [
            &[
                "reward.py",
                "--tokenizer",
                "m",
                "--max-tokens",
                "100",
                "--eos-token",
                "</s>",
            ][..],
            &["-c", "exec python3 r.py --api-key \"$KEY\""],
            &["r.py", "--api-key", "/run/secrets/key", "--key-column", "answer"],
            &["sk-learn-reward-model", "hf_reward_model.py", "eyJ"],
            &["--url", "https://example.org/a@b:c", "a=b", "x_key=3", "--token"],
            &["-lc", "cd /x && ./judge --level=3"],
        ] {
            let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
            assert_eq!(find(&arguments), None, "{arguments:?}");
        }
    }

    #[test]
    fn a_variable_that_nobody_fills_in_is_seen() {
        for (argument, name) in [
            ("$KEY", Some("KEY")),
            ("${A_b1}", Some("A_b1")),
            ("--key=${KEY}", Some("KEY")),
            ("$", None),
            ("${KEY", None),
            ("$KEY/x", None),
            ("cost in $", None),
            ("$1", None),
            ("a=$KEY b", None),
        ] {
            assert_eq!(variable(argument), name, "{argument}");
        }
    }
}
