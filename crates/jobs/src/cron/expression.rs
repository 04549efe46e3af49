//! Cron expressions and the instants they mean in a time zone.
//!
//! Five fields as in crontab(5): minute, hour, day of month, month, day of week; `*`, numbers, names of months and days,
//! ranges, steps, lists, and `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. With both days restricted, either
//! one is enough, as there.
//!
//! Where clocks change, an expression with a fixed hour means something once a day: an instant that is skipped comes
//! when the clock goes on, one that is doubled comes the first time. With `*` or `*/n` hours it means intervals: nothing
//! in a skipped hour, and both of a doubled one.

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan as _};
use thiserror::Error;

/// Why a text is not a cron expression.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExpressionError {
    /// There are not five fields.
    #[error("a cron expression has five fields (minute hour day month weekday), this one has {0}")]
    Fields(usize),
    /// A field cannot be read.
    #[error("{part:?} is no {field}; write numbers {min} to {max}, a-b, */n, lists of those or *")]
    Field {
        /// Which field.
        field: &'static str,
        /// What stands there.
        part: String,
        /// The least number.
        min: u8,
        /// The greatest number.
        max: u8,
    },
}

/// Numbers from 0 to 63, and whether the field was `*` or `*/n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Set {
    bits: u64,
    open: bool,
}

impl Set {
    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| number < 64 && self.bits & (1 << number) != 0)
    }

    fn numbers(self) -> impl Iterator<Item = i8> {
        (0..60).filter(move |number| self.has(*number))
    }
}

/// A parsed cron expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
}

/// A field's name, its bounds, and the names of its numbers from the least on.
struct Field(&'static str, u8, u8, &'static [&'static str]);

const MINUTE: Field = Field("minute", 0, 59, &[]);
const HOUR: Field = Field("hour", 0, 23, &[]);
const DAY: Field = Field("day of month", 1, 31, &[]);
const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const MONTH: Field = Field("month", 1, 12, MONTHS);
/// 0 and 7 are Sunday.
const WEEKDAY: Field = Field("weekday", 0, 7, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]);

impl std::str::FromStr for Expression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(ExpressionError::Fields(fields.len()));
        };
        let mut weekdays = parse(&WEEKDAY, weekday)?;
        if weekdays.has(7) {
            weekdays.bits |= 1;
        }
        Ok(Self {
            minutes: parse(&MINUTE, minute)?,
            hours: parse(&HOUR, hour)?,
            days: parse(&DAY, day)?,
            months: parse(&MONTH, month)?,
            weekdays,
        })
    }
}

fn parse(field: &Field, text: &str) -> Result<Set, ExpressionError> {
    let mut bits = 0;
    for part in text.split(',') {
        let Field(name, min, max, _) = *field;
        bits |= parse_part(field, part).ok_or_else(|| ExpressionError::Field {
            field: name,
            part: part.to_owned(),
            min,
            max,
        })?;
    }
    Ok(Set { bits, open: text.starts_with('*') })
}

/// `*`, `a`, `a-b`, each with `/n` or without.
fn parse_part(field: &Field, part: &str) -> Option<u64> {
    let Field(_, min, max, _) = *field;
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step.parse::<u8>().ok().filter(|step| *step > 0)?)),
        None => (part, None),
    };
    let (first, last) = if range == "*" {
        (min, max)
    } else if let Some((first, last)) = range.split_once('-') {
        (number(field, first)?, number(field, last)?)
    } else {
        let first = number(field, range)?;
        // `5/15` goes on to the end, as in most crons.
        (first, if step.is_some() { max } else { first })
    };
    (first <= last).then(|| {
        (first..=last).step_by(usize::from(step.unwrap_or(1))).fold(0, |bits, number| bits | 1 << number)
    })
}

fn number(field: &Field, text: &str) -> Option<u8> {
    let Field(_, min, max, names) = *field;
    let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
    let number = match named {
        Some(place) => min.checked_add(u8::try_from(place).ok()?)?,
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok()?,
        None => return None,
    };
    (min..=max).contains(&number).then_some(number)
}

/// Days looked at for the next instant: February 29 on a given weekday comes within forty years.
const HORIZON_DAYS: usize = 41 * 366;

impl Expression {
    /// The first instant after `after`, or none if there is none within forty years (February 30).
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // The day before too: what was skipped late on it may come on this one.
        let mut day = zone.to_datetime(after).date().checked_sub(1.day()).ok()?;
        for _ in 0..HORIZON_DAYS {
            if self.is_on(day)
                && let Some(first) = self.first_on(day, after, zone)
            {
                return Some(first);
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    fn is_on(&self, day: Date) -> bool {
        let month_day = self.days.has(day.day());
        let weekday = self.weekdays.has(day.weekday().to_sunday_zero_offset());
        let fits =
            if self.days.open || self.weekdays.open { month_day && weekday } else { month_day || weekday };
        fits && self.months.has(day.month())
    }

    fn first_on(&self, day: Date, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let times =
            self.hours.numbers().flat_map(|hour| self.minutes.numbers().map(move |minute| (hour, minute)));
        times
            .filter_map(|(hour, minute)| Time::new(hour, minute, 0, 0).ok())
            .flat_map(|time| self.instants(day, time, zone))
            .flatten()
            .filter(|instant| *instant > after)
            .min()
    }

    /// What a time on the clock means: one instant, and where clocks change none or two.
    fn instants(&self, day: Date, time: Time, zone: &TimeZone) -> [Option<Timestamp>; 2] {
        let on_clock = day.to_datetime(time);
        let at = |offset: jiff::tz::Offset| offset.to_timestamp(on_clock).ok();
        match zone.to_ambiguous_timestamp(on_clock).offset() {
            AmbiguousOffset::Unambiguous { offset } => [at(offset), None],
            AmbiguousOffset::Gap { .. } if self.hours.open => [None, None],
            // Read with the later offset it lies before the change.
            AmbiguousOffset::Gap { after, .. } => {
                let change = at(after).and_then(|before| zone.following(before).next());
                [change.map(|change| change.timestamp()), None]
            }
            AmbiguousOffset::Fold { before, after } if self.hours.open => [at(before), at(after)],
            AmbiguousOffset::Fold { before, .. } => [at(before), None],
        }
    }
}

#[cfg(test)]
mod tests;
