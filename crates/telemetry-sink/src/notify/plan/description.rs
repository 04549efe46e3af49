//! The plan in the words of Alertmanager's configuration, so that its tools can read it (`amtool config routes`).
//!
//! Receivers show their names only: their ways hold secrets, and are not Alertmanager's in everything.

use serde_json::{Map, Value as JsonValue, json};

use super::{Plan, Route};
use crate::model::{MatchOp, Matcher};
use crate::promql::duration;

fn matcher(matcher: &Matcher) -> String {
    let sign = match matcher.op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    format!("{}{sign}{}", matcher.name, JsonValue::from(matcher.value.as_str()))
}

fn all(matchers: &[Matcher]) -> JsonValue {
    matchers.iter().map(matcher).collect()
}

impl Plan {
    /// Alertmanager's configuration.
    pub(crate) fn described(&self) -> JsonValue {
        let mut shown = json!({
            "global": { "resolve_timeout": duration(self.resolve_timeout) },
            "receivers": self.receivers.iter().map(|one| json!({ "name": one.name })).collect::<Vec<_>>(),
        });
        let Some(fields) = shown.as_object_mut() else { return shown };
        if let Some(root) = self.routes.first() {
            fields.insert("route".to_owned(), self.branch(root));
        }
        let inhibitions = self.inhibitions.iter().map(|one| {
            json!({
                "source_matchers": all(&one.source),
                "target_matchers": all(&one.target),
                "equal": one.equal,
            })
        });
        fields.insert("inhibit_rules".to_owned(), inhibitions.collect());
        fields.insert("time_intervals".to_owned(), self.times());
        shown
    }

    /// Several intervals of one name are one of Alertmanager's.
    fn times(&self) -> JsonValue {
        let mut named: Vec<(&str, Vec<JsonValue>)> = Vec::new();
        for interval in &self.intervals {
            match named.iter_mut().find(|(name, _)| *name == interval.name) {
                Some((_, all)) => all.push(interval.described()),
                None => named.push((&interval.name, vec![interval.described()])),
            }
        }
        named.into_iter().map(|(name, all)| json!({ "name": name, "time_intervals": all })).collect()
    }

    fn branch(&self, route: &Route) -> JsonValue {
        let mut shown = Map::new();
        let mut put = |name: &str, value: JsonValue| {
            shown.insert(name.to_owned(), value);
        };
        if let Some(receiver) = self.receivers.get(route.receiver) {
            put("receiver", json!(receiver.name));
        }
        put("group_by", json!(route.group_by));
        put("group_wait", json!(duration(route.wait)));
        put("group_interval", json!(duration(route.interval)));
        put("repeat_interval", json!(duration(route.repeat)));
        if !route.matchers.is_empty() {
            put("matchers", all(&route.matchers));
        }
        if route.goes_on {
            put("continue", json!(true));
        }
        for (name, intervals) in
            [("mute_time_intervals", &route.mute), ("active_time_intervals", &route.active)]
        {
            if !intervals.is_empty() {
                put(name, json!(intervals));
            }
        }
        let children = route.children.iter().filter_map(|index| self.routes.get(*index));
        let children: Vec<_> = children.map(|child| self.branch(child)).collect();
        if !children.is_empty() {
            put("routes", json!(children));
        }
        JsonValue::Object(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::settings::Settings;

    const CONFIGURED: &str = r#"
default_receiver = "ops"
[[receiver]]
name = "ops"
[[receiver]]
name = "night"
[[route]]
name = "critical"
matchers = ['severity="critical"', 'team=~"db|\\w+"']
receiver = "night"
continue = true
mute_time_intervals = ["lunch"]
[[route]]
name = "below"
parent = "critical"
[[time_interval]]
name = "lunch"
times = ["12:00-24:00"]
weekdays = ["monday:friday"]
days_of_month = ["-3:-1"]
months = ["june:august"]
years = ["2026"]
location = "UTC"
[[inhibit]]
source = ['a="b"']
target = ['c!="d"']
equal = ["x"]
"#;

    #[test]
    fn a_plan_is_described_as_alertmanager_configures_it() {
        let settings: Settings = toml::from_str(CONFIGURED).unwrap();
        let shown = Plan::new(&settings).unwrap().described();
        let times = json!({ "group_by": ["alertname"], "group_wait": "30s", "group_interval": "5m", "repeat_interval": "4h" });
        let with = |more: JsonValue| {
            let mut all = times.clone();
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        let below = with(json!({ "receiver": "night" }));
        let critical = with(json!({
            "receiver": "night",
            "matchers": ["severity=\"critical\"", "team=~\"db|\\\\w+\""],
            "continue": true,
            "mute_time_intervals": ["lunch"],
            "routes": [below],
        }));
        assert_eq!(shown["route"], with(json!({ "receiver": "ops", "routes": [critical] })));
        assert_eq!(shown["receivers"], json!([{ "name": "nobody" }, { "name": "ops" }, { "name": "night" }]));
        assert_eq!(
            shown["inhibit_rules"],
            json!([{ "source_matchers": ["a=\"b\""], "target_matchers": ["c!=\"d\""], "equal": ["x"] }])
        );
        assert_eq!(
            shown["time_intervals"],
            json!([{ "name": "lunch", "time_intervals": [{
                "times": [{ "start_time": "12:00", "end_time": "24:00" }],
                "weekdays": ["monday:friday"],
                "days_of_month": ["-3:-1"],
                "months": ["6:8"],
                "years": ["2026:2026"],
                "location": "UTC",
            }] }])
        );
    }
}
