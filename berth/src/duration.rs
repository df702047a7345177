//! Durations as people type and read them: `90s`, `15m`, `12h`, `90d`; and how long ago something was.

use model::Timestamp;
use std::time::Duration;

/// Parses `90s`, `15m`, `12h`, `90d`, or plain seconds.
pub fn parse(text: &str) -> Result<Duration, String> {
    let refuse = || format!("`{text}` is not a duration: write a number and s, m, h or d, for example 15m or 90d");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let secs = match unit {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        _ => None,
    };
    secs.and_then(|secs: u64| number.checked_mul(secs)).map(Duration::from_secs).ok_or_else(refuse)
}

/// The two largest units of a duration: `3d 4h`, `12m 5s`, `8s`.
pub fn format(duration: Duration) -> String {
    let secs = duration.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(size, _)| secs >= *size).unwrap_or(3);
    let (size, name) = units[first];
    let rest = units.get(first + 1).map(|(small, name)| (secs % size / small, name));
    match rest {
        Some((count, small)) if count > 0 => format!("{}{name} {count}{small}", secs / size),
        _ => format!("{}{name}", secs / size),
    }
}

/// How long before `now` that was, in the largest unit: `3d ago`.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let text = format(now.since(then));
    format!("{} ago", text.split(' ').next().unwrap_or(&text))
}

/// A moment as AWS JSON carries it: epoch seconds with a fraction.
#[expect(clippy::cast_possible_truncation, reason = "microseconds of this era need 51 bits")]
pub fn from_epoch_secs(secs: f64) -> Timestamp {
    Timestamp::from_micros((secs * 1e6) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, secs) in [("0", 0), ("90", 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("90d", 7_776_000)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(secs)), "{text}");
        }
        for bad in ["", "s", "1w", "-1s", "1.5h", "99999999999999999999d", "18446744073709551615d"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_shown_in_their_two_largest_units() {
        for (secs, text) in [(0, "0s"), (8, "8s"), (60, "1m"), (725, "12m 5s"), (3600, "1h"), (273_600, "3d 4h")] {
            assert_eq!(format(Duration::from_secs(secs)), text);
        }
        assert_eq!(ago(Timestamp::from_secs(0), Timestamp::from_secs(725)), "12m ago");
        assert_eq!(ago(Timestamp::from_secs(9), Timestamp::from_secs(0)), "0s ago");
    }
}
