//! Parts of dates, of times in seconds since the epoch, in UTC.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{each_sample, seconds};
use crate::model::Labels;
use crate::promql::Error;
use crate::promql::ast::Expr;
use crate::promql::eval::Evaluator;
use crate::promql::value::Series;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Part {
    Minute,
    Hour,
    /// Sunday is 0.
    DayOfWeek,
    DayOfMonth,
    DayOfYear,
    DaysInMonth,
    Month,
    Year,
}

/// Without an argument, of the time of each step.
pub(super) fn call(
    evaluator: &Evaluator<'_>,
    part: Part,
    times: Option<&Expr>,
) -> Result<Vec<Series>, Error> {
    let times = if let Some(times) = times {
        evaluator.vector(times)?
    } else {
        let values = evaluator.query.steps().map(|time| Some(seconds(time))).collect();
        vec![Series { labels: Labels::empty(), drops_name: false, values }]
    };
    Ok(each_sample(times, |_, time| Some(of(part, time))))
}

/// NaN for what is no time that a calendar knows.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates and the range is checked after it")]
fn of(part: Part, seconds: f64) -> f64 {
    let Ok(time) = Timestamp::from_second(seconds.floor() as i64) else { return f64::NAN };
    if seconds.is_nan() {
        return f64::NAN;
    }
    let date = time.to_zoned(TimeZone::UTC).datetime();
    match part {
        Part::Minute => date.minute().into(),
        Part::Hour => date.hour().into(),
        Part::DayOfWeek => date.weekday().to_sunday_zero_offset().into(),
        Part::DayOfMonth => date.day().into(),
        Part::DayOfYear => date.day_of_year().into(),
        Part::DaysInMonth => date.days_in_month().into(),
        Part::Month => date.month().into(),
        Part::Year => date.year().into(),
    }
}
