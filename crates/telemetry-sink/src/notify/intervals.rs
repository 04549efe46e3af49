//! Times of a calendar, as Alertmanager's time intervals have them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value as JsonValue, json};

use super::settings::TimeInterval;

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Times at which routes are quiet, or only speak.
#[derive(Debug, Clone)]
pub(super) struct Interval {
    pub(super) name: String,
    zone: TimeZone,
    /// Minutes of the day; the end is not part of it.
    times: Vec<(i32, i32)>,
    weekdays: Vec<(i32, i32)>,
    days: Vec<(i32, i32)>,
    months: Vec<(i32, i32)>,
    years: Vec<(i32, i32)>,
}

impl Interval {
    pub(super) fn new(settings: &TimeInterval) -> Result<Self, String> {
        let zone = match &settings.location {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| {
                format!("the time zone {name:?} is not known on this machine; use UTC or install it")
            })?,
        };
        let all = |texts: &[String], form: &str, read: &dyn Fn(&str) -> Option<(i32, i32)>| {
            let read = |text: &String| {
                read(&text.to_ascii_lowercase()).ok_or_else(|| format!("{text:?} is not of the form {form}"))
            };
            texts.iter().map(read).collect::<Result<Vec<_>, _>>()
        };
        let named = |names: &'static [&'static str], first: i32| {
            move |text: &str| {
                let at = names.iter().position(|name| *name == text)?;
                Some(i32::try_from(at).ok()? + first)
            }
        };
        let weekday = named(&WEEKDAYS, 0);
        let by_name = named(&MONTHS, 1);
        let month = |text: &str| by_name(text).or_else(|| number(text, 1, 12));
        Ok(Self {
            name: settings.name.clone(),
            zone,
            times: all(&settings.times, "09:00-17:30", &times)?,
            weekdays: all(&settings.weekdays, "monday:friday", &|text| range(text, &weekday))?,
            days: all(&settings.days_of_month, "1:5 or -3:-1", &days)?,
            months: all(&settings.months, "june:august or 6:8", &|text| range(text, &month))?,
            years: all(&settings.years, "2026:2028", &|text| range(text, &|year| number(year, 1970, 9999)))?,
        })
    }

    /// As one of Alertmanager's; a list that is empty is left out.
    pub(super) fn described(&self) -> JsonValue {
        let mut shown = Map::new();
        let clock = |minute: i32| format!("{:02}:{:02}", minute / 60, minute % 60);
        let span = |start: i32, end: i32| json!({ "start_time": clock(start), "end_time": clock(end) });
        if !self.times.is_empty() {
            let times = self.times.iter().map(|(start, end)| span(*start, *end));
            shown.insert("times".to_owned(), times.collect());
        }
        let weekday = |day: i32| {
            usize::try_from(day).ok().and_then(|day| WEEKDAYS.get(day)).map(|day| (*day).to_owned())
        };
        let lists: [(&str, &[(i32, i32)]); 4] = [
            ("weekdays", &self.weekdays),
            ("days_of_month", &self.days),
            ("months", &self.months),
            ("years", &self.years),
        ];
        for (name, ranges) in lists.into_iter().filter(|(_, ranges)| !ranges.is_empty()) {
            let one = |value: i32| match name {
                "weekdays" => weekday(value).unwrap_or_default(),
                _ => value.to_string(),
            };
            let ranges = ranges.iter().map(|(first, last)| format!("{}:{}", one(*first), one(*last)));
            shown.insert(name.to_owned(), ranges.collect());
        }
        if let Some(zone) = self.zone.iana_name() {
            shown.insert("location".to_owned(), json!(zone));
        }
        JsonValue::Object(shown)
    }

    /// Whether a time is part of it.
    pub(super) fn contains(&self, millis: i64) -> bool {
        let Ok(time) = Timestamp::from_millisecond(millis) else { return false };
        let local = time.to_zoned(self.zone.clone());
        let within = |ranges: &[(i32, i32)], value: i32| {
            ranges.is_empty() || ranges.iter().any(|(first, last)| (*first..=*last).contains(&value))
        };
        let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
        let (day, last) = (i32::from(local.day()), i32::from(local.days_in_month()));
        let of_month = |at: i32| if at < 0 { last + 1 + at } else { at };
        (self.times.is_empty() || self.times.iter().any(|(start, end)| (*start..*end).contains(&minute)))
            && within(&self.weekdays, i32::from(local.weekday().to_sunday_zero_offset()))
            && (self.days.is_empty()
                || self.days.iter().any(|(first, last)| (of_month(*first)..=of_month(*last)).contains(&day)))
            && within(&self.months, i32::from(local.month()))
            && within(&self.years, i32::from(local.year()))
    }
}

fn number(text: &str, least: i32, most: i32) -> Option<i32> {
    text.parse().ok().filter(|number| (least..=most).contains(number))
}

fn range(text: &str, one: &dyn Fn(&str) -> Option<i32>) -> Option<(i32, i32)> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    let (first, last) = (one(first.trim())?, one(last.trim())?);
    (first <= last).then_some((first, last))
}

fn days(text: &str) -> Option<(i32, i32)> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    let one = |text: &str| number(text.trim(), -31, 31).filter(|day| *day != 0);
    let (first, last) = (one(first)?, one(last)?);
    // From the beginning to the end of a month is fine, the other way round is nothing.
    let backwards = (first < 0) == (last < 0) && first > last;
    (!(backwards || first < 0 && last > 0)).then_some((first, last))
}

fn times(text: &str) -> Option<(i32, i32)> {
    let (start, end) = text.split_once('-')?;
    let minute = |text: &str| {
        let (hours, minutes) = text.trim().split_once(':')?;
        let minute = number(hours, 0, 24)? * 60 + number(minutes, 0, 59)?;
        (minute <= 24 * 60).then_some(minute)
    };
    let (start, end) = (minute(start)?, minute(end)?);
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(change: impl FnOnce(&mut TimeInterval)) -> Result<Interval, String> {
        let mut settings = TimeInterval {
            name: "t".into(),
            times: vec![],
            weekdays: vec![],
            days_of_month: vec![],
            months: vec![],
            years: vec![],
            location: None,
        };
        change(&mut settings);
        Interval::new(&settings)
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn times_days_months_and_years_must_all_fit() {
        let office = interval(|one| {
            one.times = vec!["09:00-17:00".into()];
            one.weekdays = vec!["Monday:Friday".into()];
        })
        .unwrap();
        assert!(office.contains(at("2026-03-02T09:00:00Z")) && office.contains(at("2026-03-06T16:59:59Z")));
        assert!(!office.contains(at("2026-03-02T17:00:00Z")) && !office.contains(at("2026-03-01T12:00:00Z")));
        let last_days = interval(|one| one.days_of_month = vec!["-2:-1".into()]).unwrap();
        assert!(
            last_days.contains(at("2026-02-27T00:00:00Z")) && !last_days.contains(at("2026-03-29T00:00:00Z"))
        );
        let summer = interval(|one| {
            one.months = vec!["june:8".into()];
            one.years = vec!["2026".into()];
        })
        .unwrap();
        assert!(summer.contains(at("2026-08-31T23:59:59Z")) && !summer.contains(at("2027-07-01T00:00:00Z")));
    }

    #[test]
    fn what_is_no_time_is_refused_with_its_form() {
        for change in [
            |one: &mut TimeInterval| one.times = vec!["17:00-09:00".into()],
            |one: &mut TimeInterval| one.weekdays = vec!["friday:monday".into()],
            |one: &mut TimeInterval| one.days_of_month = vec!["0".into()],
            |one: &mut TimeInterval| one.months = vec!["13".into()],
            |one: &mut TimeInterval| one.location = Some("Nowhere/At all".into()),
        ] {
            assert!(interval(change).is_err());
        }
    }
}
