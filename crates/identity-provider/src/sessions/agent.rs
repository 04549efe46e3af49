//! What a browser calls itself, in words that its owner recognises. Good for a list that people read, and
//! for nothing else: anybody can send any name.

/// The longest name that is stored.
pub(crate) const MAX_AGENT_BYTES: usize = 256;

/// Longer names stand before those that contain them.
const BROWSERS: [(&str, &str); 6] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];

const SYSTEMS: [(&str, &str); 6] = [
    ("Android", "Android"),
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "a Mac"),
    ("Linux", "Linux"),
];

/// The start of a name, fit to be stored.
pub(crate) fn stored(agent: &str) -> String {
    let printable: String = agent.chars().filter(|c| !c.is_control()).collect();
    let end = printable.floor_char_boundary(MAX_AGENT_BYTES);
    printable.get(..end).unwrap_or_default().to_owned()
}

/// Such as "Firefox on Linux".
pub(crate) fn describe(agent: &str) -> String {
    let known = |table: &[(&str, &'static str)]| {
        table.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name)
    };
    match (known(&BROWSERS), known(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        (None, Some(system)) => format!("A browser on {system}"),
        (None, None) => "A browser".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_called_what_their_owners_call_them() {
        for (agent, words) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36 Edg/131.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/131.0.0.0 Mobile Safari/537.36",
                "Chrome on Android",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Version/18.1 Safari/604.1",
                "Safari on an iPhone",
            ),
            ("curl/8", "A browser"),
            ("", "A browser"),
        ] {
            assert_eq!(describe(agent), words, "{agent}");
        }
        assert_eq!(stored(&"é".repeat(1000)).len(), MAX_AGENT_BYTES);
        assert_eq!(stored("a\u{1b}[2Jb"), "a[2Jb");
    }
}
