//! `--grid KEY=V1,V2`: a key of the config with the values that it takes in turn.

use std::str::FromStr;

use crate::run::digest;

/// A key and its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// The key's dotted path.
    pub key: String,
    /// Its values, each as `--set` takes it; at least one.
    pub values: Vec<String>,
}

impl FromStr for Axis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((key, values)) = text.split_once('=') else {
            return Err("give a key and its values, as in `objective.alpha=1,2`".into());
        };
        let values = split(values)?;
        if let Some(at) = values.iter().position(String::is_empty) {
            return Err(format!("value {} is empty; write \"\" for an empty text", at + 1));
        }
        Ok(Self {
            key: key.trim().to_owned(),
            values,
        })
    }
}

/// Parts between commas that stand in no bracket and no quotes.
fn split(text: &str) -> Result<Vec<String>, String> {
    let (mut parts, mut depth) = (vec![String::new()], 0usize);
    let (mut quote, mut escaped) = (None, false);
    for c in text.chars() {
        let ends = quote.is_none() && depth == 0 && c == ',';
        match (quote, c) {
            (Some('"'), '\\') if !escaped => escaped = true,
            (Some(open), _) if c == open && !escaped => quote = None,
            (Some(_), _) => escaped = false,
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.checked_sub(1).ok_or(format!("`{c}` closes nothing"))?,
            _ => {}
        }
        match ends {
            true => parts.push(String::new()),
            false => parts.last_mut().expect("there is one").push(c),
        }
    }
    match (quote, depth) {
        (Some(quote), _) => Err(format!("the quote {quote} is not closed")),
        (None, 1..) => Err("a bracket is not closed".into()),
        _ => Ok(parts.iter().map(|part| part.trim().to_owned()).collect()),
    }
}

/// Every choice of one value of each axis, the last axis changing fastest.
pub fn choices(axes: &[Axis]) -> Vec<Vec<(&str, &str)>> {
    let mut all = vec![Vec::new()];
    for axis in axes {
        let mut longer = Vec::new();
        for chosen in &all {
            for value in &axis.values {
                longer.push([chosen.as_slice(), &[(axis.key.as_str(), value.as_str())]].concat());
            }
        }
        all = longer;
    }
    all
}

/// A choice as part of a directory's name: `alpha=2,similarity=cosine`. A key is called by its last part, unless another axis's is
/// the same.
pub fn name(choice: &[(&str, &str)], axes: &[Axis]) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let key = |key: &str| {
        let same = axes.iter().filter(|axis| last(&axis.key) == last(key)).count();
        if same > 1 { key.to_owned() } else { last(key) }
    };
    let parts = choice
        .iter()
        .map(|(of, value)| format!("{}={}", key(of), word(value)));
    parts.collect::<Vec<_>>().join(",")
}

/// A value as part of a file's name. Where something of it is lost, some digits tell it from others.
fn word(value: &str) -> String {
    const LONGEST: usize = 32;
    let bare = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value);
    let fits = |c: char| c.is_ascii_alphanumeric() || "._+-@".contains(c);
    if bare.chars().all(fits) && bare.len() <= LONGEST && !bare.is_empty() {
        return bare.to_owned();
    }
    let plain: String = bare.chars().map(|c| if fits(c) { c } else { ' ' }).collect();
    let plain = plain.split_whitespace().collect::<Vec<_>>().join("_");
    let plain: String = plain.chars().take(LONGEST).collect();
    format!("{plain}~{}", &digest::of_bytes(bare.as_bytes())[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(text: &str) -> Axis {
        text.parse().unwrap()
    }

    #[test]
    fn values_end_at_commas_outside_of_brackets_and_quotes() {
        let values = |text: &str| axis(text).values;
        assert_eq!(
            axis("a.b=1, 2"),
            Axis {
                key: "a.b".into(),
                values: vec!["1".into(), "2".into()]
            }
        );
        assert_eq!(
            values(r#"a=["x","y"],["z"],[]"#),
            [r#"["x","y"]"#, r#"["z"]"#, "[]"]
        );
        assert_eq!(
            values(r#"a={name="grpo"},{name="gcpo",alpha=1}"#),
            [r#"{name="grpo"}"#, r#"{name="gcpo",alpha=1}"#]
        );
        assert_eq!(values(r#"a="x,\",y",'z,"'"#), [r#""x,\",y""#, r#"'z,"'"#]);
        assert_eq!(values("a=b=c"), ["b=c"]);
        for (text, said) in [
            ("a", "a key and its values"),
            ("a=", "value 1 is empty"),
            ("a=1,,2", "value 2 is empty"),
            ("a=[1,2", "bracket is not closed"),
            ("a=1]", "closes nothing"),
            ("a=\"1", "quote \" is not closed"),
        ] {
            let error = text.parse::<Axis>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn every_choice_has_a_name_of_its_own() {
        let axes = ["a.x=1,2", "b.y=\"u\",v/w,v_w"].map(axis);
        let all = choices(&axes);
        assert_eq!(all.len(), 6);
        assert_eq!(all[1], [("a.x", "1"), ("b.y", "v/w")]);
        let names: Vec<String> = all.iter().map(|choice| name(choice, &axes)).collect();
        assert_eq!(names[0], "x=1,y=u");
        assert!(names[1].starts_with("x=1,y=v_w~"), "{}", names[1]);
        assert_eq!(names[2], "x=1,y=v_w");
        let same = ["a.x=1", "b.x=2"].map(axis);
        assert_eq!(name(&choices(&same)[0], &same), "a.x=1,b.x=2");
        assert_eq!(choices(&[]), [Vec::new()]);
    }
}
