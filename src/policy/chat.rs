//! The day that a chat template is given.

use gcpo_data::ChatOptions;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use toml::Value as Toml;

use crate::section::{ConfigError, Value};

/// `prompt.date`: what the time is for chat templates, in UTC.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Day(Timestamp);

impl Day {
    /// Seconds since 1970.
    pub(super) fn seconds(self) -> i64 {
        self.0.as_second()
    }
}

impl Default for Day {
    fn default() -> Self {
        Self(Timestamp::from_second(ChatOptions::default().now).expect("a date of this century"))
    }
}

impl Value for Day {
    fn wants() -> String {
        "a date, \"2025-01-31\", or a date and a time, \"2025-01-31T12:00:00\"".into()
    }

    fn read(value: Toml) -> Result<Self, ConfigError> {
        let text = match &value {
            Toml::String(text) => text.clone(),
            Toml::Datetime(date) => date.to_string(),
            other => return Err(ConfigError::wrong_type(other, &Self::wants())),
        };
        let time = text
            .parse()
            .ok()
            .and_then(|time: DateTime| time.to_zoned_datetime(TimeZone::UTC).ok());
        time.map(|time| Self(time.timestamp())).ok_or_else(|| {
            ConfigError::new(format!("impossible value: {text:?}")).help(format!("give {}", Self::wants()))
        })
    }

    fn write(&self) -> Toml {
        let time = self.0.to_zoned_datetime(TimeZone::UTC).datetime();
        match time.time() == jiff::civil::Time::midnight() {
            true => time.date().to_string().into(),
            false => time.to_string().into(),
        }
    }
}
