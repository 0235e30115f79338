//! `strftime` as Python's `datetime` does it with glibc, in the C locale.

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use minijinja::{Error, ErrorKind};

/// Codes that jiff writes as Python does.
const SAME: &str = "aAbhBCdDeFgGHIjklmMnpPrRsStTuUVwWyY%";

/// A time in UTC, by a format of Python's. As in transformers' `datetime.now()`, it knows no time zone, so `%Z` and `%z` are
/// empty.
pub(super) fn strftime(format: &str, time: Timestamp) -> Result<String, Error> {
    let failed = |what: String| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {what}"));
    let mut known = String::with_capacity(format.len());
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            known.push(c);
            continue;
        }
        // "%-d": without the leading zero.
        let code = chars.next();
        let (flag, code) = match code {
            Some('-') => ("-", chars.next()),
            code => ("", code),
        };
        match code {
            Some('z' | 'Z') => {}
            Some('f') => known.push_str("000000"),
            Some('c') => known.push_str("%a %b %e %H:%M:%S %Y"),
            Some('x') => known.push_str("%m/%d/%y"),
            Some('X') => known.push_str("%H:%M:%S"),
            Some(code) if SAME.contains(code) => {
                known.push('%');
                known.push_str(flag);
                known.push(code);
            }
            code => {
                let code = code.map(String::from).unwrap_or_default();
                return Err(failed(format!("%{flag}{code} is not supported")));
            }
        }
    }
    strtime::format(&known, &time.to_zoned_datetime(TimeZone::UTC)).map_err(|error| failed(error.to_string()))
}
