use super::*;

struct Fixed(Vec<Found>);

impl Surroundings for Fixed {
    fn query(&self, text: &str) -> Result<Vec<Found>, String> {
        if text == "bad" { Err("cannot".to_owned()) } else { Ok(self.0.clone()) }
    }

    fn external_url(&self) -> &'static str {
        "https://console.example/base"
    }
}

fn around() -> Fixed {
    let series = |instance: &str| [("__name__", "up"), ("instance", instance)].into_iter().collect();
    Fixed(vec![(series("b:1"), 2.0), (series("a:1"), 1.0)])
}

fn expand(text: &str) -> Result<String, String> {
    let labels: Labels = [("instance", "host.example:9100"), ("job", "core-api")].into_iter().collect();
    let external = BTreeMap::from([("region".to_owned(), "eu".to_owned())]);
    let (dot, variables) = alert_values(&labels, 0.1234, &external, "https://console.example/base");
    Template::parse(text, &ALERT_VARIABLES)?.expand(&dot, &variables, &around())
}

#[test]
fn labels_values_and_functions_are_filled_in() {
    for (text, expected) in [
        ("plain", "plain"),
        ("{{ $labels.job }}/{{ .Labels.instance }}", "core-api/host.example:9100"),
        ("[{{ $labels.absent }}]", "[]"),
        ("{{ $value }} {{ .Value }}", "0.1234 0.1234"),
        ("{{ $externalLabels.region }} {{ $externalURL }}", "eu https://console.example/base"),
        ("{{ $value | humanizePercentage }}", "12.34%"),
        ("{{ humanizeDuration 3661.0 }} {{ \"90\" | humanizeDuration }}", "1h 1m 1s 1m 30s"),
        (r#"{{ printf "%.2f|%5d|%-4s|%q|%v%%" $value 7 "ab" "q" true }}"#, r#"0.12|    7|ab  |"q"|true%"#),
        ("{{ printf \"%s\" $labels.job | toUpper }}", "CORE-API"),
        ("{{ $labels.instance | stripPort }} {{ $labels.instance | stripDomain }}", "host.example host:9100"),
        (r#"{{ query "up" | first | value }}"#, "2"),
        (r#"{{ with query "up" }}{{ . | first | label "instance" }}{{ end }}"#, "b:1"),
        (
            r#"{{ range query "up" | sortByLabel "instance" }}{{ .Labels.instance }}={{ .Value }};{{ end }}"#,
            "a:1=1;b:1=2;",
        ),
        (
            "{{ range $i, $s := query `up` }}{{ if $i }}, {{ end }}{{ $s.Labels.instance }}{{ end }}",
            "b:1, a:1",
        ),
        ("{{ if gt $value 0.5 }}high{{ else if gt $value 0.1 }}some{{ else }}low{{ end }}", "some"),
        ("{{ if and (eq $labels.job \"core-api\") (not false) }}x{{ end }}", "x"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("a  {{- /* gone */ -}}  b", "ab"),
        ("{{ reReplaceAll \"(.*)-api\" \"$1\" $labels.job }} {{ match \"c.re\" $labels.job }}", "core true"),
        ("{{ (query `up` | first).Value }} {{ len (query `up`) }}", "2 2"),
        (
            "{{ title \"two words\" }} {{ graphLink \"a b\" }} {{ pathPrefix }}",
            "Two Words /graph?g0.expr=a+b&g0.tab=0 /base",
        ),
        ("{{ index $labels \"job\" }} {{ parseDuration \"1m30s\" }}", "core-api 90"),
    ] {
        assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_cannot_work_is_refused_when_it_is_read() {
    for (text, message) in [
        ("{{ $nope }}", "undefined variable $nope"),
        ("{{ nope 1 }}", "function \"nope\" not defined"),
        ("{{ if true }}", "not closed with {{ end }}"),
        ("{{ end }}", "ends nothing"),
        ("{{ $value ", "not closed with }}"),
        ("{{ define \"x\" }}{{ end }}", "not supported"),
        ("{{ (1 }}", "parenthesis is not closed"),
        ("{{ 1 | 2 }}", "after | a function must follow"),
        ("{{ \"open }}", "not closed with"),
    ] {
        let error = Template::parse(text, &ALERT_VARIABLES).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn what_fails_while_it_is_expanded_says_why_and_loops_are_bounded() {
    for (text, message) in [
        ("{{ query \"bad\" }}", "error calling query: cannot"),
        ("{{ humanize \"x\" }}", "no number"),
        ("{{ .Nothing }}", "no field .Nothing"),
        ("{{ eq 1 \"a\" }}", "cannot be compared"),
        (
            &"{{ range query \"up\" }}{{ range query \"up\" }}x{{ end }}{{ end }}".repeat(20),
            "more than 20 queries",
        ),
    ] {
        let error = expand(text).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn values_that_would_be_too_large_are_refused_before_they_are_made() {
    // The loops turn 64 times.
    let nested = |body: &str| {
        let (open, close) = ("{{ range $q }}".repeat(6), "{{ end }}".repeat(6));
        format!("{{{{ $q := query `up` }}}}{{{{ $x := `0123456789` }}}}{open}{body}{close}")
    };
    for (body, message) in [
        ("{{ $x = print $x $x }}", "longer than 65536 bytes"),
        ("{{ $x = println $x $x }}", "longer than 65536 bytes"),
        ("{{ $x = printf `%s%s` $x $x }}", "longer than 65536 bytes"),
        ("{{ $x = reReplaceAll `[0-9]` `$0$0` $x }}", "longer than 65536 bytes"),
        ("{{ $x = args $x }}", "nested too deeply"),
        ("{{ $x = args $x $x $x }}", "the arguments of args are larger"),
    ] {
        let error = expand(&nested(body)).unwrap_err();
        assert!(error.contains(message), "{body}: {error}");
    }
}

#[test]
fn no_text_makes_the_parser_panic() {
    let words = [
        "{{", "}}", "-", "$x", ":=", "if", "end", "else", "range", "(", ")", "|", "\"", "`", ".a", "1e", "é",
        " ", "/*",
    ];
    let mut state = 7usize;
    for _ in 0..3000 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(words[(state >> 33) % words.len()]);
        }
        let _ = Template::parse(&text, &ALERT_VARIABLES);
    }
}
