//! Dates as IMAP writes them: `date` of SEARCH and `date-time` of APPEND and FETCH (RFC 9051 section 9).

use std::fmt;

use jiff::{civil, tz::Offset};
use securanet_gateway::model::UnixMillis;

use super::cursor::{Cursor, SyntaxError};

/// Month names in the order of the year.
pub const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A day, without a time and without a zone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Date(civil::Date);

impl Date {
    /// A day of the Gregorian calendar; `None` when there is no such day.
    #[must_use]
    pub fn new(year: i16, month: i8, day: i8) -> Option<Self> {
        civil::Date::new(year, month, day).ok().map(Self)
    }

    /// The day that a moment has in UTC.
    #[must_use]
    pub fn of(moment: UnixMillis) -> Self {
        Self(civil_time(moment).date())
    }

    /// `date = date-text / DQUOTE date-text DQUOTE`
    ///
    /// # Errors
    /// [`SyntaxError`] when there is none.
    pub fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let quoted = cursor.eat(b'"');
        let at = cursor.position();
        let digits = cursor.take_while(|octet| octet.is_ascii_digit());
        let date = (1..=2).contains(&digits.len()).then(|| number(digits)).flatten();
        let Some(day) = date else { return Err(SyntaxError { at, expected: "a day" }) };
        let date = month_and_year(cursor, day)?;
        if quoted {
            cursor.expect(b'"', "a closing quote")?;
        }
        Ok(date)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let month = MONTHS[usize::from(self.0.month().unsigned_abs()).saturating_sub(1) % 12];
        write!(f, "{}-{month}-{:04}", self.0.day(), self.0.year())
    }
}

fn civil_time(moment: UnixMillis) -> civil::DateTime {
    let second = i64::try_from(moment.seconds()).unwrap_or(i64::MAX);
    let timestamp = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
    Offset::UTC.to_datetime(timestamp)
}

/// Reads `"-" month "-" 4DIGIT` behind a day.
fn month_and_year(cursor: &mut Cursor<'_>, day: i64) -> Result<Date, SyntaxError> {
    let at = cursor.position();
    cursor.expect(b'-', "-")?;
    let name = cursor.take_while(|octet| octet.is_ascii_alphabetic());
    let month = MONTHS.iter().position(|month| month.as_bytes().eq_ignore_ascii_case(name));
    let Some(month) = month.and_then(|index| i8::try_from(index + 1).ok()) else { return cursor.fail("a month") };
    cursor.expect(b'-', "-")?;
    let year = digits(cursor, 4)?;
    let date = i16::try_from(year).ok().zip(i8::try_from(day).ok());
    let date = date.and_then(|(year, day)| Date::new(year, month, day));
    date.ok_or(SyntaxError { at, expected: "a day that exists" })
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn digits(cursor: &mut Cursor<'_>, count: usize) -> Result<i64, SyntaxError> {
    let Some(next) = cursor.rest().get(..count).filter(|next| next.iter().all(u8::is_ascii_digit)) else {
        return cursor.fail("digits");
    };
    let value = number(next);
    for _ in 0..count {
        cursor.take_while_one();
    }
    value.map_or_else(|| cursor.fail("digits"), Ok)
}

impl Cursor<'_> {
    fn take_while_one(&mut self) {
        if let Some(octet) = self.peek() {
            self.eat(octet);
        }
    }
}

/// `date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE`
///
/// # Errors
/// [`SyntaxError`] when there is none, or it lies before 1970 in UTC.
pub fn parse_date_time(cursor: &mut Cursor<'_>) -> Result<UnixMillis, SyntaxError> {
    let at = cursor.position();
    cursor.expect(b'"', "a date-time")?;
    let day = if cursor.eat(b' ') { digits(cursor, 1)? } else { digits(cursor, 2)? };
    let date = month_and_year(cursor, day)?;
    cursor.space()?;
    let hour = digits(cursor, 2)?;
    cursor.expect(b':', ":")?;
    let minute = digits(cursor, 2)?;
    cursor.expect(b':', ":")?;
    let second = digits(cursor, 2)?;
    cursor.space()?;
    let east = match cursor.peek() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return cursor.fail("a zone"),
    };
    cursor.take_while_one();
    let zone = digits(cursor, 4)?;
    cursor.expect(b'"', "a closing quote")?;
    if hour > 23 || minute > 59 || second > 60 || zone % 100 > 59 {
        return Err(SyntaxError { at, expected: "a time that exists" });
    }
    let midnight = Offset::UTC.to_timestamp(date.0.at(0, 0, 0, 0)).map_or(-1, |midnight| midnight.as_second());
    let local = midnight + hour * 3600 + minute * 60 + second;
    let unix = local - east * (zone / 100 * 3600 + zone % 100 * 60);
    let unix = u64::try_from(unix).map_err(|_| SyntaxError { at, expected: "a time since 1970" })?;
    Ok(UnixMillis::new(unix * 1000))
}

/// A moment as `date-time`, with its quotes, in UTC.
#[must_use]
pub fn date_time(moment: UnixMillis) -> String {
    let time = civil_time(moment);
    let month = MONTHS[usize::from(time.month().unsigned_abs()).saturating_sub(1) % 12];
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("\"{:2}-{month}-{:04} {hour:02}:{minute:02}:{second:02} +0000\"", time.day(), time.year())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Result<UnixMillis, SyntaxError> {
        parse_date_time(&mut Cursor::new(text.as_bytes()))
    }

    #[test]
    fn rfc_9051_9_date_times_are_read_and_written() {
        let text = "\"17-Jul-1996 02:44:25 -0700\"";
        assert_eq!(moment(text), Ok(UnixMillis::new(837_596_665_000)));
        assert_eq!(date_time(UnixMillis::new(837_596_665_000)), "\"17-Jul-1996 09:44:25 +0000\"");
        assert_eq!(date_time(UnixMillis::new(0)), "\" 1-Jan-1970 00:00:00 +0000\"");
        assert_eq!(moment(&date_time(UnixMillis::new(951_782_400_000))), Ok(UnixMillis::new(951_782_400_000)));
    }

    #[test]
    fn days_and_times_that_do_not_exist_are_refused() {
        for text in [
            "\"31-Feb-2020 00:00:00 +0000\"",
            "\"01-Foo-2020 00:00:00 +0000\"",
            "\"01-Jan-2020 24:00:00 +0000\"",
            "\"01-Jan-1969 00:00:00 +0000\"",
            "\"01-Jan-2020 00:00:00\"",
            "\"1-Jan-2020 00:00:00 +0000\"",
            "\"00-Jan-2020 00:00:00 +0000\"",
        ] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn search_dates_are_read_with_and_without_quotes() {
        let date = |text: &str| Date::parse(&mut Cursor::new(text.as_bytes()));
        assert_eq!(date("1-Feb-1994").map(|date| date.to_string()), Ok("1-Feb-1994".to_owned()));
        assert_eq!(date("\"01-feb-1994\""), Ok(Date::new(1994, 2, 1).unwrap()));
        assert!(date("\"01-feb-1994").is_err());
        assert!(date("001-Feb-1994").is_err());
        assert!(date("30-Feb-1994").is_err());
    }
}
