//! Calendar arithmetic and formatting for `os.date` and `os.time`: the proleptic Gregorian calendar,
//! without leap seconds, in the C locale. Time zones are the caller's business; it passes in a
//! [`Tm`] with the offset and zone name filled in.
//!
//! The conversions between days and dates are Howard Hinnant's (`chrono`-compatible low-level date
//! algorithms).

use std::collections::TryReserveError;
use std::fmt::{self, Write};

const SECONDS_PER_DAY: i64 = 86_400;

/// A broken-down time. Fields are in the ranges Lua programs see, not those of C's `struct tm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tm {
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
    /// 1 (Sunday) to 7.
    pub weekday: u8,
    /// 1 to 366.
    pub yearday: u16,
    /// Whether daylight saving time is in effect, if known.
    pub is_dst: Option<bool>,
    /// Seconds east of Greenwich.
    pub utc_offset: i32,
    pub zone: String,
}

impl Tm {
    /// The date and time in UTC, `time` seconds after 1970 began; `None` if C's `struct tm` could not
    /// hold the year.
    pub fn utc(time: i64) -> Option<Tm> {
        let days = time.div_euclid(SECONDS_PER_DAY);
        let second_of_day = time.rem_euclid(SECONDS_PER_DAY);
        let (year, month, day) = date_from_days(days);
        i32::try_from(year - 1900).ok()?;
        Some(Tm {
            year,
            month,
            day,
            hour: (second_of_day / 3600) as u8,
            minute: (second_of_day / 60 % 60) as u8,
            second: (second_of_day % 60) as u8,
            // Day zero was a Thursday.
            weekday: ((days + 4).rem_euclid(7) + 1) as u8,
            yearday: (days - days_from_date(year, 1, 1) + 1) as u16,
            is_dst: Some(false),
            utc_offset: 0,
            zone: "GMT".to_owned(),
        })
    }

    /// The year and week (1 to 53) of ISO 8601, whose weeks start on Mondays and belong to the year
    /// of their Thursdays.
    fn iso_week(&self) -> (i64, i64) {
        let yearday = i64::from(self.yearday);
        let since_monday = (i64::from(self.weekday) + 5) % 7;
        let thursday = yearday - since_monday + 3;
        if thursday < 1 {
            let year = self.year - 1;
            return (year, (thursday + days_in_year(year) - 1) / 7 + 1);
        }
        if thursday > days_in_year(self.year) {
            return (self.year + 1, 1);
        }
        (self.year, (thursday - 1) / 7 + 1)
    }

    /// The week of the year (0 to 53) if weeks start on the day `first`, counted from Sunday as 0.
    fn week(&self, first: i64) -> i64 {
        let since_first = (i64::from(self.weekday) - 1 - first).rem_euclid(7);
        (i64::from(self.yearday) - 1 + 7 - since_first) / 7
    }

    fn hour12(&self) -> u8 {
        (self.hour + 11) % 12 + 1
    }
}

/// The days from 1970-01-01 to a date. Years are counted from March, so that leap days come last.
fn days_from_date(year: i64, month: u8, day: u8) -> i64 {
    let month_from_march = (i64::from(month) + 9) % 12;
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_date`].
fn date_from_days(days: i64) -> (i64, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month as u8, day as u8)
}

fn days_in_year(year: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    365 + i64::from(leap)
}

/// Why a date was not formatted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DateError {
    /// There is no such conversion specifier; holds the offset just after its percent sign.
    InvalidSpecifier(usize),
    OutOfMemory,
}

impl DateError {
    /// The message Lua reports about its first argument. `format` is the format given, which the
    /// message quotes, so that it need not be valid UTF-8.
    pub fn message(&self, format: &[u8]) -> Vec<u8> {
        match self {
            DateError::InvalidSpecifier(offset) => {
                let rest = format.get(*offset..).unwrap_or_default();
                let rest = rest.split(|&byte| byte == 0).next().unwrap_or_default();
                [b"invalid conversion specifier '%", rest, b"'"].concat()
            }
            DateError::OutOfMemory => b"not enough memory".to_vec(),
        }
    }
}

impl From<TryReserveError> for DateError {
    fn from(_: TryReserveError) -> DateError {
        DateError::OutOfMemory
    }
}

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// More than any conversion produces, zone names aside.
const ROOM: usize = 128;

/// Appends `tm` as `format` says: the conversions of C99's `strftime` (without extensions), the `E`
/// and `O` modifiers without effect.
pub fn strftime(out: &mut Vec<u8>, format: &[u8], tm: &Tm) -> Result<(), DateError> {
    let mut rest = format;
    while let Some(percent) = memchr::memchr(b'%', rest) {
        out.try_reserve(percent + ROOM + tm.zone.len())?;
        out.extend_from_slice(&rest[..percent]);
        rest = &rest[percent + 1..];
        let (specifier, length) = match *rest {
            [b'E', letter, ..] if b"cCxXyY".contains(&letter) => (letter, 2),
            [b'O', letter, ..] if b"deHImMSuUVwWy".contains(&letter) => (letter, 2),
            [letter, ..] => (letter, 1),
            [] => (0, 0),
        };
        // Neither formatting integers nor appending to a vector with room reserved fails.
        if !matches!(
            append_conversion(&mut Appender(out), specifier, tm),
            Ok(true)
        ) {
            return Err(DateError::InvalidSpecifier(format.len() - rest.len()));
        }
        rest = &rest[length..];
    }
    out.try_reserve(rest.len())?;
    out.extend_from_slice(rest);
    Ok(())
}

/// Lets `core::fmt` append to a vector with room reserved.
struct Appender<'a>(&'a mut Vec<u8>);

impl fmt::Write for Appender<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Appends one conversion; `false` if there is none of that name.
fn append_conversion(out: &mut Appender<'_>, specifier: u8, tm: &Tm) -> Result<bool, fmt::Error> {
    let day_name = DAYS[usize::from(tm.weekday - 1) % 7];
    let month_name = MONTHS[usize::from(tm.month - 1) % 12];
    let Tm {
        year,
        month,
        day,
        hour,
        minute,
        second,
        ..
    } = *tm;
    let century_year = year.rem_euclid(100);
    match specifier {
        b'a' => out.write_str(&day_name[..3])?,
        b'A' => out.write_str(day_name)?,
        b'b' | b'h' => out.write_str(&month_name[..3])?,
        b'B' => out.write_str(month_name)?,
        b'c' => {
            let (day_name, month_name) = (&day_name[..3], &month_name[..3]);
            write!(
                out,
                "{day_name} {month_name} {day:2} {hour:02}:{minute:02}:{second:02} {year}"
            )?;
        }
        b'C' => write!(out, "{}", year.div_euclid(100))?,
        b'd' => write!(out, "{day:02}")?,
        b'D' | b'x' => write!(out, "{month:02}/{day:02}/{century_year:02}")?,
        b'e' => write!(out, "{day:2}")?,
        b'F' => write!(out, "{year}-{month:02}-{day:02}")?,
        b'g' => write!(out, "{:02}", tm.iso_week().0.rem_euclid(100))?,
        b'G' => write!(out, "{}", tm.iso_week().0)?,
        b'H' => write!(out, "{hour:02}")?,
        b'I' => write!(out, "{:02}", tm.hour12())?,
        b'j' => write!(out, "{:03}", tm.yearday)?,
        b'm' => write!(out, "{month:02}")?,
        b'M' => write!(out, "{minute:02}")?,
        b'n' => out.write_str("\n")?,
        b'p' => out.write_str(half_of_day(hour))?,
        b'r' => {
            let (hour12, half) = (tm.hour12(), half_of_day(hour));
            write!(out, "{hour12:02}:{minute:02}:{second:02} {half}")?;
        }
        b'R' => write!(out, "{hour:02}:{minute:02}")?,
        b'S' => write!(out, "{second:02}")?,
        b't' => out.write_str("\t")?,
        b'T' | b'X' => write!(out, "{hour:02}:{minute:02}:{second:02}")?,
        b'u' => write!(out, "{}", (tm.weekday + 5) % 7 + 1)?,
        b'U' => write!(out, "{:02}", tm.week(0))?,
        b'V' => write!(out, "{:02}", tm.iso_week().1)?,
        b'w' => write!(out, "{}", tm.weekday - 1)?,
        b'W' => write!(out, "{:02}", tm.week(1))?,
        b'y' => write!(out, "{century_year:02}")?,
        b'Y' => write!(out, "{year}")?,
        b'z' => {
            let sign = if tm.utc_offset < 0 { '-' } else { '+' };
            let minutes = tm.utc_offset.unsigned_abs() / 60;
            write!(out, "{sign}{:02}{:02}", minutes / 60, minutes % 60)?;
        }
        b'Z' => out.write_str(&tm.zone)?,
        b'%' => out.write_str("%")?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn half_of_day(hour: u8) -> &'static str {
    if hour < 12 { "AM" } else { "PM" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(format: &str, tm: &Tm) -> String {
        let mut out = Vec::new();
        strftime(&mut out, format.as_bytes(), tm).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_epoch() {
        let tm = Tm::utc(0).unwrap();
        assert_eq!(
            show("%c|%F %T|%j %u %w", &tm),
            "Thu Jan  1 00:00:00 1970|1970-01-01 00:00:00|001 4 4"
        );
        assert_eq!(show("%I %p %G-W%V %U %W", &tm), "12 AM 1970-W01 00 00");
    }

    #[test]
    fn zones() {
        let mut tm = Tm::utc(1_000_000_000).unwrap();
        tm.utc_offset = -(3 * 3600 + 1800);
        tm.zone = "NST".to_owned();
        assert_eq!(show("%z %Z %Ey %Od%%", &tm), "-0330 NST 01 09%");
    }

    #[test]
    fn bad_specifiers() {
        let tm = Tm::utc(0).unwrap();
        for (format, message) in [
            (&b"x%"[..], "invalid conversion specifier '%'"),
            (b"%Ez", "invalid conversion specifier '%Ez'"),
            (b"%Y %Q rest", "invalid conversion specifier '%Q rest'"),
            (b"%O\0x", "invalid conversion specifier '%O'"),
        ] {
            let error = strftime(&mut Vec::new(), format, &tm).unwrap_err();
            assert_eq!(error.message(format), message.as_bytes());
        }
    }

    #[test]
    fn dates_and_days_are_inverse() {
        for days in (-10_000_000..10_000_000).step_by(7_777) {
            let (year, month, day) = date_from_days(days);
            assert_eq!(days_from_date(year, month, day), days);
        }
        assert_eq!(Tm::utc(i64::MAX), None);
        assert_eq!(Tm::utc(i64::MIN), None);
    }
}
